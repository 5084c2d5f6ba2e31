-- summary: Which explanations of a unit were simulated, and by what.
-- reads: simulations
-- params: $model, $hook_point, $first_neuron, $last_neuron, $corpus, $rows = 200
SELECT neuron, explanation, simulator, simulator_model, scale, count(*) AS n_windows
FROM simulations
WHERE model = $model
AND hook_point = $hook_point
AND neuron BETWEEN $first_neuron AND $last_neuron
AND corpus = $corpus
AND NOT control
GROUP BY neuron, explanation, simulator, simulator_model, scale
ORDER BY neuron, explanation, simulator, simulator_model
LIMIT $rows
