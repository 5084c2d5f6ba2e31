-- summary: The best-explained units: score, its control, and what the explanation says.
-- reads: best_explanations
-- params: $limit = 10
SELECT
    layer,
    neuron,
    round(value, 2) AS value,
    round(control, 2) AS control,
    text
FROM best_explanations
ORDER BY value DESC, layer, neuron
LIMIT $limit
