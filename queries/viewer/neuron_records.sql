-- summary: Windows of a unit, the first so many of every sample: top ones by their largest activation, others in the order in which they were drawn.
-- reads: activation_records, token_sequences
-- params: $model, $hook_point, $first_neuron, $last_neuron, $corpus, $windows = 10, $quantile_windows = 4, $rows = 400
SELECT
    r.neuron,
    r.sample,
    r.rank,
    r.split,
    r.sequence,
    t.document,
    r.max_activation,
    t.tokens,
    r.activations
FROM (
    SELECT
        neuron,
        sample,
        rank,
        split,
        sequence,
        max_activation,
        activations,
        row_number() OVER (
            PARTITION BY neuron, sample
            ORDER BY
                CASE WHEN sample = 'top' THEN max_activation END DESC,
                rank,
                split DESC,
                sequence
        ) AS place
    FROM activation_records
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron BETWEEN $first_neuron AND $last_neuron
    AND corpus = $corpus
) r
JOIN token_sequences t ON t.sequence = r.sequence
WHERE r.place <= CASE WHEN starts_with(r.sample, 'quantile_') THEN $quantile_windows ELSE $windows END
AND t.model = $model
AND t.corpus = $corpus
ORDER BY r.neuron, r.sample, r.place
LIMIT $rows
