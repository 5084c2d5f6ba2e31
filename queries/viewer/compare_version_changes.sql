-- summary: The scores that rose, fell, appeared or vanished most between two versions of the score table, with the runs that wrote them.
-- reads: scores, explanations
-- params: $before, $after, $metric = 'ev_correlation', $sample_set = 'top_and_random', $change, $top = 50
SELECT
    c.model,
    c.hook_point,
    c.layer,
    c.neuron,
    c.explanation,
    c.scorer,
    c.scorer_model,
    c.calibration,
    c.split,
    c.before,
    c.after,
    c.after - c.before AS difference,
    c.before_run,
    c.after_run,
    e.explainer,
    e.text
FROM (
    SELECT
        COALESCE(b.model, a.model) AS model,
        COALESCE(b.hook_point, a.hook_point) AS hook_point,
        COALESCE(b.layer, a.layer) AS layer,
        COALESCE(b.neuron, a.neuron) AS neuron,
        COALESCE(b.explanation, a.explanation) AS explanation,
        COALESCE(b.scorer, a.scorer) AS scorer,
        COALESCE(b.scorer_model, a.scorer_model) AS scorer_model,
        COALESCE(b.calibration, a.calibration) AS calibration,
        COALESCE(b.split, a.split) AS split,
        b.value AS before,
        a.value AS after,
        b.run AS before_run,
        a.run AS after_run,
        CASE
            WHEN b.run IS NULL THEN 'appeared'
            WHEN a.run IS NULL THEN 'vanished'
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
            explanation,
            scorer,
            COALESCE(scorer_model, '') AS scorer_model,
            calibration,
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
            explanation,
            scorer,
            COALESCE(scorer_model, '') AS scorer_model,
            calibration,
            split,
            value,
            run
        FROM "scores@$after"
        WHERE metric = $metric
        AND sample_set = $sample_set
    ) a
        ON a.model = b.model
        AND a.hook_point = b.hook_point
        AND a.explanation = b.explanation
        AND a.scorer = b.scorer
        AND a.scorer_model = b.scorer_model
        AND a.calibration = b.calibration
        AND a.split = b.split
) c
LEFT JOIN explanations e
    ON e.model = c.model
    AND e.hook_point = c.hook_point
    AND e.explanation = c.explanation
WHERE c.change = $change
ORDER BY abs(c.after - c.before) DESC, COALESCE(c.after, c.before) DESC, c.hook_point, c.neuron, c.explanation, c.scorer
LIMIT $top
