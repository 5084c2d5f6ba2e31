-- summary: Units with statistics, best explanation and its score: a page of those for which the condition holds, in an order of its own.
-- reads: exchange_units
-- params: $condition = TRUE, $key = TRUE, $descending = 0, $limit = 100, $offset = 0
SELECT
    model,
    hook_point,
    layer,
    neuron,
    corpus,
    mean,
    variance,
    max,
    density,
    explainer,
    explainer_model,
    text,
    score,
    random_only
FROM exchange_units
WHERE $condition
ORDER BY
    CASE WHEN $descending = 1 THEN $key END DESC NULLS LAST,
    CASE WHEN $descending = 0 THEN $key END ASC NULLS LAST,
    model,
    hook_point,
    neuron,
    corpus
LIMIT $limit
OFFSET $offset
