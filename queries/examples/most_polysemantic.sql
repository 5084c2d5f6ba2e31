-- summary: Units that peak on many different tokens: in top windows and in the weaker ranges of their activation.
-- reads: record_tokens
-- params: $limit = 20
SELECT
    layer,
    neuron,
    count(DISTINCT peak) FILTER (WHERE sample = 'top') AS n_top_tokens,
    count(DISTINCT peak) FILTER (WHERE sample LIKE 'quantile_%') AS n_quantile_tokens,
    count(*) FILTER (WHERE sample = 'top') AS n_top_windows
FROM (
    SELECT
        layer,
        neuron,
        sample,
        lower(trim(tokens[CAST(array_position(activations, max_activation) AS BIGINT)])) AS peak
    FROM record_tokens
    WHERE (sample = 'top' AND split = 'train')
    OR sample LIKE 'quantile_%'
)
GROUP BY layer, neuron
ORDER BY n_top_tokens + n_quantile_tokens DESC, layer, neuron
LIMIT $limit
