-- summary: What judges and ablation made of every explanation of a unit, each by its headline number.
-- reads: explanation_scorers
-- params: $model, $hook_point, $first_neuron, $last_neuron, $corpus, $rows = 500
SELECT
    neuron,
    explanation,
    scorer,
    metric,
    split,
    value,
    low,
    high,
    control,
    reason,
    n_windows,
    n_failed
FROM explanation_scorers
WHERE model = $model
AND hook_point = $hook_point
AND neuron BETWEEN $first_neuron AND $last_neuron
AND corpus = $corpus
AND metric <> 'ev_correlation'
ORDER BY neuron, explanation, scorer, split
LIMIT $rows
