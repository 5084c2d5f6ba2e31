-- summary: How many latents of each crosscoder are of its first model only, of the other only, shared, and in between; how alike the shared ones are.
-- reads: latent_differences
-- params:
SELECT
    crosscoder,
    model,
    other_model,
    count(*) AS n_latents,
    count(*) FILTER (WHERE class = 'only_model') AS n_only_model,
    count(*) FILTER (WHERE class = 'shared') AS n_shared,
    count(*) FILTER (WHERE class = 'only_other') AS n_only_other,
    count(*) FILTER (WHERE class = 'between') AS n_between,
    round(avg(cosine) FILTER (WHERE class = 'shared'), 3) AS cosine_of_shared
FROM latent_differences
GROUP BY crosscoder, model, other_model
ORDER BY crosscoder, model, other_model
