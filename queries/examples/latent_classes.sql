-- summary: How many latents of each autoencoder are dead, rare, usual and dense.
-- reads: latent_statistics
-- params:
SELECT
    autoencoder,
    corpus,
    count(*) AS n_latents,
    count(*) FILTER (WHERE class = 'dead') AS n_dead,
    count(*) FILTER (WHERE class = 'rare') AS n_rare,
    count(*) FILTER (WHERE class = 'usual') AS n_usual,
    count(*) FILTER (WHERE class = 'dense') AS n_dense,
    round(sum(density), 2) AS firings_per_token
FROM latent_statistics
GROUP BY autoencoder, corpus
ORDER BY autoencoder, corpus
