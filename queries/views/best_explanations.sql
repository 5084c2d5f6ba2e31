-- summary: The best-scored explanation of every unit (ev_correlation, top and random windows); units without a score are left out.
-- reads: explanation_scores
SELECT
    model,
    hook_point,
    layer,
    neuron,
    corpus,
    explanation,
    explainer,
    explainer_model,
    text,
    scorer,
    scorer_model,
    split,
    value,
    control,
    low,
    high,
    random_only
FROM (
    SELECT
        s.model,
        s.hook_point,
        s.layer,
        s.neuron,
        s.corpus,
        s.explanation,
        s.explainer,
        s.explainer_model,
        s.text,
        s.scorer,
        s.scorer_model,
        s.split,
        s.value,
        s.control,
        s.low,
        s.high,
        s.random_only,
        row_number() OVER (
            PARTITION BY s.model, s.hook_point, s.neuron, s.corpus
            ORDER BY s.value DESC, s.explanation, s.scorer
        ) AS place
    FROM explanation_scores s
    WHERE s.value IS NOT NULL
    -- Calibration chooses among samples: its scores are of windows that were looked at.
    AND s.split <> 'calibration'
)
WHERE place = 1
