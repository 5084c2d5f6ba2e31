-- summary: How many units have a best score in each twentieth.
-- reads: best_explanations
SELECT
    greatest(least(CAST(floor(value * 20) AS INT), 19), -20) AS bin,
    count(*) AS n_units
FROM best_explanations
GROUP BY 1
ORDER BY 1
