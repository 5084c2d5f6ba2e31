-- summary: Keeps, from the same pass, the mean activation of every unit over the tokens that move it most.
-- reads: token_sequences, token_activations
-- writes: token_activations
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $model_source, $corpus, $hook_point, $neurons, $collection
INSERT INTO token_activations
SELECT
    model,
    hook_point,
    layer,
    neuron,
    corpus,
    t['token_id'] AS token_id,
    token_text(t['token_id'], $model_source) AS token,
    t['mean_activation'] AS mean_activation,
    t['n_occurrences'] AS n_occurrences,
    $run AS run
FROM (
    SELECT
        c.model,
        c.hook_point,
        c.layer,
        c.neuron,
        c.corpus,
        unnest(c.token_activations) AS t
    FROM collect_activations($model_source, $corpus, $hook_point, $neurons, $collection) c
    LEFT ANTI JOIN (
        SELECT DISTINCT neuron
        FROM token_activations
        WHERE model = $model
        AND hook_point = $hook_point
        AND corpus = $corpus
    ) done ON done.neuron = c.neuron
)
-- In order within each unit already: a sort by more would copy every row.
ORDER BY neuron
