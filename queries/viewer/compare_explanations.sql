-- summary: The explanations of one unit that can be compared, best score first.
-- reads: searchable_explanations
-- params: $model, $hook_point, $neuron
SELECT
    explanation,
    explainer,
    explainer_model,
    corpus,
    text,
    score
FROM searchable_explanations
WHERE model = $model
AND hook_point = $hook_point
AND neuron = $neuron
ORDER BY score DESC, explanation
LIMIT 200
