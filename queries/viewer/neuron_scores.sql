-- summary: What simulations made of every explanation of a unit: value with interval, control, and what random windows alone give.
-- reads: explanation_scores
-- params: $model, $hook_point, $first_neuron, $last_neuron, $corpus, $rows = 500
SELECT
    neuron,
    explanation,
    scorer,
    scorer_model,
    calibration,
    split,
    value,
    low,
    high,
    control,
    random_only,
    top_only,
    explained_variance,
    reason
FROM explanation_scores
WHERE model = $model
AND hook_point = $hook_point
AND neuron BETWEEN $first_neuron AND $last_neuron
AND corpus = $corpus
ORDER BY neuron, value DESC, explanation, scorer, scorer_model, calibration, split
LIMIT $rows
