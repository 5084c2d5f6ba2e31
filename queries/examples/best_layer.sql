-- summary: The layer whose units are explained best on average, and its best unit.
-- reads: best_explanations
-- params:
SELECT
    layer,
    count(*) AS n_scored,
    round(avg(value), 3) AS mean_value,
    first_value(neuron ORDER BY value DESC, neuron) AS best_neuron,
    round(max(value), 2) AS best_value
FROM best_explanations
GROUP BY layer
ORDER BY mean_value DESC, layer
