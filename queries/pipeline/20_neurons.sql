-- summary: Runs the subject model over the token sequences and keeps the statistics of every unit.
-- reads: token_sequences, neurons
-- writes: neurons
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $model_source, $corpus, $hook_point, $neurons, $collection
INSERT INTO neurons
SELECT
    c.model,
    c.hook_point,
    c.layer,
    c.neuron,
    c.corpus,
    c.n_tokens,
    c.mean,
    c.variance,
    c.skewness,
    c.kurtosis,
    c.min,
    c.max,
    c.density,
    c.quantile_levels,
    c.quantiles,
    $run AS run
FROM collect_activations($model_source, $corpus, $hook_point, $neurons, $collection) c
LEFT ANTI JOIN (
    SELECT neuron
    FROM neurons
    WHERE model = $model
    AND hook_point = $hook_point
    AND corpus = $corpus
) done ON done.neuron = c.neuron
ORDER BY c.neuron
