-- summary: The units before and after a unit in its hook point, and those of its number elsewhere in the model.
-- reads: neurons, explanations
-- params: $model, $hook_point, $first_neuron, $last_neuron, $rows = 1000
WITH known AS (
    SELECT hook_point, layer, neuron
    FROM neurons
    WHERE model = $model
    UNION ALL
    SELECT hook_point, layer, neuron
    FROM explanations
    WHERE model = $model
),
here AS (
    SELECT neuron, max(layer) AS layer, max(present) AS present
    FROM (
        SELECT neuron, layer, neuron AS present
        FROM known
        WHERE hook_point = $hook_point
        UNION ALL
        SELECT CAST(value AS INT) AS neuron, NULL AS layer, NULL AS present
        FROM generate_series($first_neuron, $last_neuron)
    )
    GROUP BY neuron
),
beside AS (
    SELECT
        neuron,
        max(present) OVER (ORDER BY neuron ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS previous,
        min(present) OVER (ORDER BY neuron ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS next,
        max(layer) OVER () AS layer
    FROM here
)
SELECT neuron, 'previous' AS place, $hook_point AS hook_point, layer, previous AS other_neuron
FROM beside
WHERE neuron BETWEEN $first_neuron AND $last_neuron
AND previous IS NOT NULL
UNION ALL
SELECT neuron, 'next' AS place, $hook_point AS hook_point, layer, next AS other_neuron
FROM beside
WHERE neuron BETWEEN $first_neuron AND $last_neuron
AND next IS NOT NULL
UNION ALL
SELECT neuron, 'elsewhere' AS place, hook_point, max(layer) AS layer, neuron AS other_neuron
FROM known
WHERE neuron BETWEEN $first_neuron AND $last_neuron
AND hook_point <> $hook_point
GROUP BY neuron, hook_point
ORDER BY neuron, place, layer, hook_point
LIMIT $rows
