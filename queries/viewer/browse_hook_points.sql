-- summary: Models and hook points that have units.
-- reads: neurons, explanations
SELECT model, hook_point, max(layer) AS layer
FROM (
    SELECT model, hook_point, layer
    FROM neurons
    UNION ALL
    SELECT model, hook_point, layer
    FROM explanations
)
GROUP BY model, hook_point
ORDER BY model, layer, hook_point
LIMIT 1000
