-- summary: Keeps, from the same pass, the windows chosen for every unit: highest, random, and by quantile.
-- reads: token_sequences, activation_records
-- writes: activation_records
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $model_source, $corpus, $hook_point, $neurons, $collection
INSERT INTO activation_records
SELECT
    model,
    hook_point,
    layer,
    neuron,
    corpus,
    r['sample'] AS sample,
    r['rank'] AS rank,
    r['sequence'] AS sequence,
    r['split'] AS split,
    r['max_activation'] AS max_activation,
    r['activations'] AS activations,
    $run AS run
FROM (
    SELECT
        c.model,
        c.hook_point,
        c.layer,
        c.neuron,
        c.corpus,
        unnest(split_records(c.records)) AS r
    FROM collect_activations($model_source, $corpus, $hook_point, $neurons, $collection) c
    LEFT ANTI JOIN (
        SELECT DISTINCT neuron
        FROM activation_records
        WHERE model = $model
        AND hook_point = $hook_point
        AND corpus = $corpus
    ) done ON done.neuron = c.neuron
)
-- Rows come in the order of units from the collection, and in order within each: a sort by more would copy every window.
ORDER BY neuron
