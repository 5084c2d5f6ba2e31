-- summary: Explanations nearest in meaning to the words, among those for which the condition holds.
-- reads: searchable_explanations, explanation_vectors
-- params: $words, $encoder = '', $condition = TRUE, $top = 20
SELECT
    similarity,
    score,
    layer,
    neuron,
    text,
    explainer,
    hook_point,
    model,
    explanation
FROM semantic_matches($words, $encoder)
WHERE $condition
ORDER BY similarity DESC, explanation
LIMIT $top
