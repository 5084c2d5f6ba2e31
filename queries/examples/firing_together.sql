-- summary: The latents that fire where one latent fires: share of both among either (jaccard), correlation of firing (phi), pointwise mutual information.
-- reads: latent_statistics, sparse_autoencoders, activations
-- params: $autoencoder = 'example_sae', $neuron = 0, $limit = 10
SELECT
    p.other_neuron,
    p.n_both,
    round(p.n_both / CAST(o.n_firings + u.n_firings - p.n_both AS DOUBLE), 4) AS jaccard,
    round(
        (p.n_both * CAST(u.n_tokens AS DOUBLE) - CAST(o.n_firings AS DOUBLE) * u.n_firings)
        / NULLIF(
            sqrt(
                CAST(o.n_firings AS DOUBLE) * u.n_firings
                * (u.n_tokens - CAST(o.n_firings AS DOUBLE)) * (u.n_tokens - u.n_firings)
            ),
            0
        ),
        4
    ) AS phi,
    round(ln(p.n_both * CAST(u.n_tokens AS DOUBLE) / (CAST(o.n_firings AS DOUBLE) * u.n_firings)), 3) AS pmi
FROM (
    SELECT a.model, a.hook_point, a.corpus, b.neuron AS other_neuron, count(*) AS n_both
    FROM sparse_autoencoders s
    JOIN activations a ON a.model = s.model
        AND a.hook_point = s.hook_point
        AND a.neuron = $neuron
    JOIN activations b ON b.model = a.model
        AND b.hook_point = a.hook_point
        AND b.corpus = a.corpus
        AND b.sequence = a.sequence
        AND b.position = a.position
        AND b.neuron <> a.neuron
    WHERE s.autoencoder = $autoencoder
    GROUP BY a.model, a.hook_point, a.corpus, b.neuron
) p
JOIN latent_statistics u ON u.autoencoder = $autoencoder
    AND u.corpus = p.corpus
    AND u.neuron = $neuron
JOIN latent_statistics o ON o.autoencoder = $autoencoder
    AND o.corpus = p.corpus
    AND o.neuron = p.other_neuron
ORDER BY phi DESC, p.other_neuron
LIMIT $limit
