-- summary: How many scores rose, fell, appeared, vanished and stayed between two versions of the score table.
-- reads: scores
-- params: $before, $after, $metric = 'ev_correlation', $sample_set = 'top_and_random'
WITH pairs AS (
    SELECT
        COALESCE(b.model, a.model) AS model,
        COALESCE(b.hook_point, a.hook_point) AS hook_point,
        COALESCE(b.layer, a.layer) AS layer,
        COALESCE(b.neuron, a.neuron) AS neuron,
        COALESCE(b.corpus, a.corpus) AS corpus,
        COALESCE(b.explanation, a.explanation) AS explanation,
        COALESCE(b.scorer, a.scorer) AS scorer,
        COALESCE(b.scorer_model, a.scorer_model) AS scorer_model,
        COALESCE(b.calibration, a.calibration) AS calibration,
        COALESCE(b.metric, a.metric) AS metric,
        COALESCE(b.sample_set, a.sample_set) AS sample_set,
        COALESCE(b.split, a.split) AS split,
        b.value AS before,
        a.value AS after,
        b.run AS before_run,
        a.run AS after_run,
        CASE
            WHEN b.run IS NULL THEN 'appeared'
            WHEN a.run IS NULL THEN 'vanished'
            WHEN b.value IS NULL AND a.value IS NULL THEN 'same'
            WHEN b.value IS NULL OR a.value IS NULL THEN 'undefined'
            WHEN a.value > b.value THEN 'rose'
            WHEN a.value < b.value THEN 'fell'
            ELSE 'same'
        END AS change
    FROM (
        SELECT
            model,
            hook_point,
            layer,
            neuron,
            corpus,
            explanation,
            scorer,
            COALESCE(scorer_model, '') AS scorer_model,
            calibration,
            metric,
            sample_set,
            split,
            value,
            run
        FROM "scores@$before"
        WHERE metric = $metric
        AND sample_set = $sample_set
    ) b
    FULL JOIN (
        SELECT
            model,
            hook_point,
            layer,
            neuron,
            corpus,
            explanation,
            scorer,
            COALESCE(scorer_model, '') AS scorer_model,
            calibration,
            metric,
            sample_set,
            split,
            value,
            run
        FROM "scores@$after"
        WHERE metric = $metric
        AND sample_set = $sample_set
    ) a
        ON a.model = b.model
        AND a.hook_point = b.hook_point
        AND a.corpus = b.corpus
        AND a.explanation = b.explanation
        AND a.scorer = b.scorer
        AND a.scorer_model = b.scorer_model
        AND a.calibration = b.calibration
        AND a.split = b.split
)
SELECT
    change,
    count(*) AS n_scores,
    avg(before) AS mean_before,
    avg(after) AS mean_after
FROM pairs
GROUP BY change
ORDER BY change
