-- summary: Units whose scores are others in a later version of the score table, those that moved most first, with why.
-- reads: explanations, judgements, runs, scores, simulations
-- params: $before, $after, $metric = 'ev_correlation', $sample_set = 'top_and_random', $where = TRUE, $top = 50
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
),
made AS (
    -- When each explanation was last simulated or judged.
    SELECT
        m.model,
        m.explanation,
        m.scorer,
        m.scorer_model,
        max(r.started_at) AS started_at
    FROM (
        SELECT model, explanation, simulator AS scorer, COALESCE(simulator_model, '') AS scorer_model, run
        FROM simulations
        UNION ALL
        SELECT model, explanation, scorer, COALESCE(scorer_model, '') AS scorer_model, run
        FROM judgements
    ) m
    JOIN runs r ON r.run = m.run
    GROUP BY m.model, m.explanation, m.scorer, m.scorer_model
),
moves AS (
    SELECT
        p.model,
        p.hook_point,
        p.layer,
        p.neuron,
        p.corpus,
        p.explanation,
        p.scorer,
        p.scorer_model,
        p.calibration,
        p.split,
        p.change,
        p.before,
        p.after,
        p.after - p.before AS difference,
        NULLIF(
            concat_ws(
                '; ',
                CASE WHEN p.before_run = p.after_run THEN 'the same run' END,
                parameter_changes(b.parameters, a.parameters),
                CASE WHEN b.code_version <> a.code_version THEN concat('code_version: ', b.code_version, ' -> ', a.code_version) END,
                CASE WHEN b.weights_hash <> a.weights_hash THEN 'other weights' END,
                CASE WHEN b.corpus_hash <> a.corpus_hash THEN 'other documents' END,
                CASE WHEN b.run IS NOT NULL AND w.started_at > b.started_at THEN 'explained anew' END,
                CASE WHEN b.run IS NOT NULL AND m.started_at > b.started_at THEN 'simulated or judged anew' END,
                CASE WHEN w.prompt_hash IS NOT NULL AND w.started_at > b.started_at THEN concat('prompt ', substr(w.prompt_hash, 1, 8)) END
            ),
            ''
        ) AS why,
        p.before_run,
        p.after_run,
        e.explainer,
        e.text
    FROM pairs p
    LEFT JOIN runs b ON b.run = p.before_run
    LEFT JOIN runs a ON a.run = p.after_run
    LEFT JOIN explanations e
        ON e.model = p.model
        AND e.hook_point = p.hook_point
        AND e.explanation = p.explanation
    LEFT JOIN runs w ON w.run = e.run
    LEFT JOIN made m
        ON m.model = p.model
        AND m.explanation = p.explanation
        AND m.scorer = p.scorer
        AND m.scorer_model = p.scorer_model
    WHERE p.change <> 'same'
)
SELECT
    model,
    hook_point,
    layer,
    neuron,
    corpus,
    explanation,
    scorer,
    scorer_model,
    calibration,
    split,
    change,
    before,
    after,
    difference,
    why,
    before_run,
    after_run,
    explainer,
    text
FROM moves
WHERE $where
ORDER BY abs(difference) DESC, COALESCE(after, before) DESC, hook_point, neuron, explanation, scorer
LIMIT $top
