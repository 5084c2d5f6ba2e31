-- summary: Which explanations of a unit were simulated, and by what.
-- reads: simulations
-- params: $model, $hook_point, $neuron, $corpus
SELECT explanation, simulator, simulator_model, scale, count(*) AS n_windows
FROM simulations
WHERE model = $model
AND hook_point = $hook_point
AND neuron = $neuron
AND corpus = $corpus
AND NOT control
GROUP BY explanation, simulator, simulator_model, scale
ORDER BY explanation, simulator, simulator_model
LIMIT 200
