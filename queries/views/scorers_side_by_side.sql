-- summary: One row per explanation: its headline numbers side by side, the best of each kind of scorer, each with the control of that same row.
-- reads: explanations, scores
SELECT
    e.model,
    e.hook_point,
    e.layer,
    e.neuron,
    e.corpus,
    e.explanation,
    e.explainer,
    e.explainer_model,
    e.text,
    s.simulation,
    s.simulation_control,
    s.detection,
    s.detection_control,
    s.fuzzing,
    s.fuzzing_control,
    s.intruder,
    s.embedding,
    s.embedding_control,
    s.surprisal,
    s.surprisal_control,
    s.ablation
FROM explanations e
LEFT JOIN (
    SELECT
        model,
        hook_point,
        explanation,
        max(value) FILTER (WHERE metric = 'ev_correlation') AS simulation,
        first_value(control ORDER BY value DESC NULLS LAST, control DESC NULLS LAST)
            FILTER (WHERE metric = 'ev_correlation') AS simulation_control,
        max(value) FILTER (WHERE metric = 'balanced_accuracy' AND scorer = 'detection') AS detection,
        first_value(control ORDER BY value DESC NULLS LAST, control DESC NULLS LAST)
            FILTER (WHERE metric = 'balanced_accuracy' AND scorer = 'detection') AS detection_control,
        max(value) FILTER (WHERE metric = 'balanced_accuracy' AND scorer = 'fuzzing') AS fuzzing,
        first_value(control ORDER BY value DESC NULLS LAST, control DESC NULLS LAST)
            FILTER (WHERE metric = 'balanced_accuracy' AND scorer = 'fuzzing') AS fuzzing_control,
        max(value) FILTER (WHERE metric = 'hit_rate' AND scorer = 'intruder') AS intruder,
        max(value) FILTER (WHERE metric = 'roc_auc' AND scorer = 'embedding') AS embedding,
        first_value(control ORDER BY value DESC NULLS LAST, control DESC NULLS LAST)
            FILTER (WHERE metric = 'roc_auc' AND scorer = 'embedding') AS embedding_control,
        max(value) FILTER (WHERE metric = 'roc_auc' AND scorer = 'surprisal') AS surprisal,
        first_value(control ORDER BY value DESC NULLS LAST, control DESC NULLS LAST)
            FILTER (WHERE metric = 'roc_auc' AND scorer = 'surprisal') AS surprisal_control,
        max(value) FILTER (WHERE metric = 'ablation') AS ablation
    FROM scores
    WHERE sample_set = 'top_and_random'
    AND split <> 'calibration'
    AND (calibration = 'none' OR metric = 'ablation')
    GROUP BY model, hook_point, explanation
) s
    ON s.model = e.model
    AND s.hook_point = e.hook_point
    AND s.explanation = e.explanation
WHERE e.text IS NOT NULL
