-- summary: Windows of a unit, the first so many of every sample: top ones by their largest activation, others in the order in which they were drawn.
-- reads: record_tokens
-- params: $model, $hook_point, $neuron, $corpus, $windows = 12
SELECT
    sample,
    rank,
    split,
    sequence,
    document,
    max_activation,
    tokens,
    activations
FROM (
    SELECT
        sample,
        rank,
        split,
        sequence,
        document,
        max_activation,
        tokens,
        activations,
        row_number() OVER (
            PARTITION BY sample
            ORDER BY
                CASE WHEN sample = 'top' THEN max_activation END DESC,
                rank,
                split DESC,
                sequence
        ) AS place
    FROM record_tokens
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron = $neuron
    AND corpus = $corpus
)
WHERE place <= $windows
ORDER BY sample, place
LIMIT 400
