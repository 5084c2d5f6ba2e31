-- summary: One explanation of every unit and explainer: the sample or revision that scored best on split calibration, else the first.
-- reads: explanations, scores
SELECT
    model,
    hook_point,
    layer,
    neuron,
    corpus,
    explanation,
    explainer,
    explainer_model,
    sample_no,
    round,
    text,
    calibration_score
FROM (
    SELECT
        e.model,
        e.hook_point,
        e.layer,
        e.neuron,
        e.corpus,
        e.explanation,
        e.explainer,
        e.explainer_model,
        e.sample_no,
        e.round,
        e.text,
        s.calibration_score,
        row_number() OVER (
            PARTITION BY e.model, e.hook_point, e.neuron, e.corpus, e.explainer, e.explainer_model
            ORDER BY s.calibration_score DESC, e.round, e.sample_no
        ) AS place
    FROM explanations e
    LEFT JOIN (
        SELECT
            model,
            hook_point,
            explanation,
            avg(value) AS calibration_score
        FROM scores
        WHERE split = 'calibration'
        AND metric = 'ev_correlation'
        AND sample_set = 'top_and_random'
        GROUP BY model, hook_point, explanation
    ) s
        ON s.model = e.model
        AND s.hook_point = e.hook_point
        AND s.explanation = e.explanation
    WHERE e.text IS NOT NULL
)
WHERE place = 1
