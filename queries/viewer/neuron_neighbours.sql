-- summary: The units before and after a unit in its hook point, and those of its number elsewhere in the model.
-- reads: neurons, explanations
-- params: $model, $hook_point, $neuron
WITH units AS (
    SELECT hook_point, layer, neuron
    FROM neurons
    WHERE model = $model
    UNION ALL
    SELECT hook_point, layer, neuron
    FROM explanations
    WHERE model = $model
)
SELECT 'previous' AS place, hook_point, max(layer) AS layer, max(neuron) AS neuron
FROM units
WHERE hook_point = $hook_point
AND neuron < $neuron
GROUP BY hook_point
UNION ALL
SELECT 'next' AS place, hook_point, max(layer) AS layer, min(neuron) AS neuron
FROM units
WHERE hook_point = $hook_point
AND neuron > $neuron
GROUP BY hook_point
UNION ALL
SELECT 'elsewhere' AS place, hook_point, max(layer) AS layer, max(neuron) AS neuron
FROM units
WHERE neuron = $neuron
AND hook_point <> $hook_point
GROUP BY hook_point
ORDER BY place, layer, hook_point
LIMIT 1000
