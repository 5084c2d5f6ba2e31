-- summary: Subject models with their hook points and corpora: how many units each has, how many are explained, how many are scored.
-- reads: exchange_units
SELECT
    model,
    hook_point,
    layer,
    corpus,
    count(*) AS n_units,
    count(text) AS n_explained,
    count(score) AS n_scored,
    avg(score) AS mean_score
FROM exchange_units
GROUP BY model, hook_point, layer, corpus
ORDER BY model, corpus, layer, hook_point
