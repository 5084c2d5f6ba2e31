-- summary: The strongest windows of one unit, strong tokens marked with their tenths of the maximum.
-- reads: record_tokens
-- params: $layer = 0, $neuron = 0, $windows = 5
SELECT
    split,
    rank,
    round(max_activation, 2) AS max_activation,
    heatmap(tokens, activations) AS heatmap
FROM record_tokens
WHERE layer = $layer
AND neuron = $neuron
AND sample = 'top'
AND rank < $windows
ORDER BY max_activation DESC, split, rank
