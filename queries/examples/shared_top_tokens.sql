-- summary: Units whose strongest windows all peak on one token: the token detectors.
-- reads: record_tokens
-- params: $windows = 10, $limit = 20
SELECT
    layer,
    neuron,
    token,
    n_windows,
    round(strongest, 2) AS strongest
FROM (
    SELECT
        layer,
        neuron,
        lower(trim(tokens[CAST(array_position(activations, max_activation) AS BIGINT)])) AS token,
        count(*) AS n_windows,
        max(max_activation) AS strongest
    FROM record_tokens
    WHERE sample = 'top'
    AND split = 'train'
    AND rank < $windows
    GROUP BY layer, neuron, lower(trim(tokens[CAST(array_position(activations, max_activation) AS BIGINT)]))
)
WHERE n_windows >= 0.8 * $windows
AND token <> ''
ORDER BY n_windows DESC, strongest DESC, layer, neuron
LIMIT $limit
