-- summary: Streams every firing of every latent of an autoencoder, sorted by latent (only with --encode).
-- reads: token_sequences, activations
-- writes: activations
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $model_source, $corpus, $hook_point, $layer, $neurons, $collection
INSERT INTO activations
SELECT
    $model AS model,
    $hook_point AS hook_point,
    CAST($layer AS INT) AS layer,
    e.neuron,
    $corpus AS corpus,
    e.sequence,
    e.position,
    e.activation,
    $run AS run
FROM encode($model_source, $corpus, $hook_point, $neurons, $collection) e
LEFT ANTI JOIN (
    SELECT DISTINCT neuron
    FROM activations
    WHERE model = $model
    AND hook_point = $hook_point
    AND corpus = $corpus
) done ON done.neuron = e.neuron
ORDER BY e.neuron, e.sequence, e.position
