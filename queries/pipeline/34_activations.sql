-- summary: Streams every firing above a quantile of its unit (only with --firings-above); the thresholds are those of neurons.
-- reads: token_sequences, neurons, activations
-- writes: activations
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $model_source, $corpus, $hook_point, $layer, $neurons, $collection, $firings_above
INSERT INTO activations
SELECT
    $model AS model,
    $hook_point AS hook_point,
    CAST($layer AS INT) AS layer,
    f.neuron,
    $corpus AS corpus,
    f.sequence,
    f.position,
    f.activation,
    $run AS run
FROM firings($model_source, $corpus, $hook_point, $neurons, $collection, $firings_above) f
LEFT ANTI JOIN (
    SELECT DISTINCT neuron
    FROM activations
    WHERE model = $model
    AND hook_point = $hook_point
    AND corpus = $corpus
) done ON done.neuron = f.neuron
ORDER BY f.neuron, f.sequence, f.position
