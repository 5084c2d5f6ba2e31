-- summary: How many windows each simulator failed on, and how many tokens of the others it left without a value.
-- reads: simulations
SELECT
    model,
    hook_point,
    simulator,
    simulator_model,
    split,
    count(*) AS n_windows,
    count(*) FILTER (WHERE expected IS NULL) AS n_failed,
    CAST(COALESCE(sum(array_length(expected)), 0) AS BIGINT) AS n_tokens,
    CAST(COALESCE(sum(array_length(array_positions(expected, CAST(NULL AS FLOAT)))), 0) AS BIGINT) AS n_unread,
    min(reason) AS a_reason
FROM simulations
GROUP BY model, hook_point, simulator, simulator_model, split
