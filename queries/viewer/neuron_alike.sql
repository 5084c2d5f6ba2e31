-- summary: Units whose explanations are nearest in meaning to a text, without the unit itself.
-- reads: searchable_explanations, explanation_vectors
-- params: $text, $model, $hook_point, $neuron, $top = 8
SELECT
    similarity,
    score,
    model,
    hook_point,
    neuron,
    corpus,
    text
FROM semantic_matches($text, '')
WHERE NOT (model = $model AND hook_point = $hook_point AND neuron = $neuron)
ORDER BY similarity DESC, explanation
LIMIT $top
