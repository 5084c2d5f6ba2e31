-- summary: The middle of all best scores, and of their controls.
-- reads: best_explanations
SELECT
    count(*) AS n_units,
    median(value) AS median_score,
    avg(value) AS mean_score,
    avg(control) AS mean_control,
    avg(random_only) AS mean_random_only
FROM best_explanations
