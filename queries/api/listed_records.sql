-- summary: Activation records of one unit with their tokens.
-- reads: record_tokens
-- params: $model, $hook_point, $neuron, $condition = TRUE, $limit = 100, $offset = 0
SELECT
    r.corpus,
    r.sample,
    r.rank,
    r.split,
    r.sequence,
    r.max_activation,
    r.tokens,
    r.activations
FROM (
    SELECT
        corpus,
        sample,
        rank,
        split,
        sequence,
        max_activation,
        tokens,
        activations
    FROM record_tokens
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron = $neuron
) r
WHERE $condition
ORDER BY r.corpus, r.sample, r.split, r.rank
LIMIT $limit
OFFSET $offset
