-- summary: Scores layer by layer: mean, median, control, share above 0.5, and the random-only mean.
-- reads: best_explanations
-- params:
SELECT
    layer,
    count(*) AS n_scored,
    round(avg(value), 3) AS mean_value,
    round(median(value), 3) AS median_value,
    round(avg(control), 3) AS mean_control,
    round(avg(CASE WHEN value > 0.5 THEN 1.0 ELSE 0.0 END), 3) AS share_above_half,
    round(avg(random_only), 3) AS mean_random_only
FROM best_explanations
GROUP BY layer
ORDER BY layer
