-- summary: Statistics of one unit, a row a corpus.
-- reads: neurons
-- params: $model, $hook_point, $neuron
SELECT
    model,
    hook_point,
    layer,
    neuron,
    corpus,
    n_tokens,
    mean,
    variance,
    skewness,
    kurtosis,
    min,
    max,
    density,
    quantile_levels,
    quantiles,
    run
FROM neurons
WHERE model = $model
AND hook_point = $hook_point
AND neuron = $neuron
ORDER BY corpus
