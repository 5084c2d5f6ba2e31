-- summary: Every latent of every encoded autoencoder: how often and how strongly it fires, and its class by that: dead, rare, usual, dense.
-- reads: sparse_autoencoders, activations, neurons, token_sequences
SELECT
    l.autoencoder,
    l.model,
    l.hook_point,
    l.layer,
    l.corpus,
    l.neuron,
    COALESCE(f.n_firings, 0) AS n_firings,
    COALESCE(n.n_tokens, t.n_tokens) AS n_tokens,
    COALESCE(f.n_firings, 0) / CAST(COALESCE(n.n_tokens, t.n_tokens) AS DOUBLE) AS density,
    f.mean_activation,
    f.max_activation,
    CASE
        WHEN COALESCE(f.n_firings, 0) / CAST(COALESCE(n.n_tokens, t.n_tokens) AS DOUBLE) < 1e-7 THEN 'dead'
        WHEN COALESCE(f.n_firings, 0) / CAST(COALESCE(n.n_tokens, t.n_tokens) AS DOUBLE) < 1e-5 THEN 'rare'
        WHEN COALESCE(f.n_firings, 0) / CAST(COALESCE(n.n_tokens, t.n_tokens) AS DOUBLE) > 0.1 THEN 'dense'
        ELSE 'usual'
    END AS class
FROM (
    SELECT
        s.autoencoder,
        s.model,
        s.hook_point,
        s.layer,
        c.corpus,
        CAST(a.value * 4096 + b.value AS INT) AS neuron
    FROM sparse_autoencoders s
    JOIN (
        SELECT DISTINCT model, hook_point, corpus
        FROM activations
    ) c ON c.model = s.model
        AND c.hook_point = s.hook_point
    JOIN range(0, 4096) a ON a.value * 4096 < s.n_latents
    JOIN range(0, 4096) b ON a.value * 4096 + b.value < s.n_latents
) l
LEFT JOIN (
    SELECT
        model,
        hook_point,
        corpus,
        neuron,
        count(*) AS n_firings,
        avg(activation) AS mean_activation,
        max(activation) AS max_activation
    FROM activations
    GROUP BY model, hook_point, corpus, neuron
) f ON f.model = l.model
    AND f.hook_point = l.hook_point
    AND f.corpus = l.corpus
    AND f.neuron = l.neuron
LEFT JOIN neurons n ON n.model = l.model
    AND n.hook_point = l.hook_point
    AND n.corpus = l.corpus
    AND n.neuron = l.neuron
LEFT JOIN (
    SELECT model, corpus, sum(array_length(token_ids)) AS n_tokens
    FROM token_sequences
    GROUP BY model, corpus
) t ON t.model = l.model
    AND t.corpus = l.corpus
