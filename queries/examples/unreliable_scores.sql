-- summary: High scores to distrust: a wide interval, or a control that scores nearly as well.
-- reads: best_explanations
-- params: $least = 0.5, $limit = 20
SELECT
    layer,
    neuron,
    round(value, 2) AS value,
    round(control, 2) AS control,
    round(low, 2) AS low,
    round(high, 2) AS high,
    text
FROM best_explanations
WHERE value >= $least
AND (high - low > 0.5 OR control > value - 0.2)
ORDER BY value DESC, layer, neuron
LIMIT $limit
