-- summary: Explanations that hold any of the words, best BM25 first, among those for which the condition holds.
-- reads: searchable_explanations
-- params: $words, $condition = TRUE, $top = 20
SELECT
    bm25,
    score,
    layer,
    neuron,
    text,
    explainer,
    hook_point,
    model,
    explanation
FROM keyword_matches($words)
WHERE $condition
ORDER BY bm25 DESC, explanation
LIMIT $top
