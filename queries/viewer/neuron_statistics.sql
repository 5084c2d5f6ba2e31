-- summary: Statistics and quantiles of a unit, and the run that counted them.
-- reads: neurons, runs
-- params: $model, $hook_point, $first_neuron, $last_neuron, $corpus, $rows = 1
SELECT
    n.neuron,
    n.layer,
    n.n_tokens,
    n.mean,
    n.variance,
    n.skewness,
    n.kurtosis,
    n.min,
    n.max,
    n.density,
    n.quantile_levels,
    n.quantiles,
    n.run,
    r.started_at,
    r.code_version
FROM neurons n
LEFT JOIN runs r ON r.run = n.run
WHERE n.model = $model
AND n.hook_point = $hook_point
AND n.neuron BETWEEN $first_neuron AND $last_neuron
AND n.corpus = $corpus
ORDER BY n.neuron
LIMIT $rows
