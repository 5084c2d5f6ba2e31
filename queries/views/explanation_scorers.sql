-- summary: One row per explanation and scorer: its headline number (correlation of a simulator, balanced accuracy, area under the curve or hit rate of a judge) with control and interval.
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
    concat(s.scorer, ' (', s.metric, ')', COALESCE('@' || s.scorer_model, '')) AS scorer,
    s.metric,
    s.split,
    s.value,
    s.control,
    s.low,
    s.high,
    s.reason,
    s.n_windows,
    s.n_failed
FROM explanations e
JOIN scores s
    ON s.model = e.model
    AND s.hook_point = e.hook_point
    AND s.explanation = e.explanation
WHERE s.sample_set = 'top_and_random'
AND s.split <> 'calibration'
AND (
    s.metric IN ('ablation', 'hit_rate')
    OR (s.metric = 'ev_correlation' AND s.calibration = 'none')
    OR (s.metric = 'balanced_accuracy' AND s.scorer IN ('detection', 'fuzzing'))
    OR (s.metric = 'roc_auc' AND s.scorer IN ('embedding', 'surprisal'))
)
