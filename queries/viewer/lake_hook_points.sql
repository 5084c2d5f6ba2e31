-- summary: Every hook point of the lake with its units, explanations and scores.
-- reads: neurons, explanations, best_explanations
SELECT
    model,
    hook_point,
    layer,
    corpus,
    max(n_neurons) AS n_neurons,
    max(n_explained) AS n_explained,
    max(n_scored) AS n_scored,
    max(mean_score) AS mean_score
FROM (
    SELECT
        model,
        hook_point,
        layer,
        corpus,
        count(*) AS n_neurons,
        0 AS n_explained,
        0 AS n_scored,
        CAST(NULL AS DOUBLE) AS mean_score
    FROM neurons
    GROUP BY model, hook_point, layer, corpus
    UNION ALL
    SELECT
        model,
        hook_point,
        layer,
        corpus,
        0 AS n_neurons,
        count(DISTINCT neuron) AS n_explained,
        0 AS n_scored,
        CAST(NULL AS DOUBLE) AS mean_score
    FROM explanations
    WHERE text IS NOT NULL
    GROUP BY model, hook_point, layer, corpus
    UNION ALL
    SELECT
        model,
        hook_point,
        layer,
        corpus,
        0 AS n_neurons,
        0 AS n_explained,
        count(*) AS n_scored,
        avg(value) AS mean_score
    FROM best_explanations
    GROUP BY model, hook_point, layer, corpus
)
GROUP BY model, hook_point, layer, corpus
ORDER BY model, corpus, layer, hook_point
LIMIT 500
