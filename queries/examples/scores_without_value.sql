-- summary: Why scores are NULL: how many of each reason, by layer.
-- reads: scores
-- params:
SELECT
    layer,
    metric,
    sample_set,
    reason,
    count(*) AS n_scores
FROM scores
WHERE value IS NULL
GROUP BY layer, metric, sample_set, reason
ORDER BY layer, metric, sample_set, reason
