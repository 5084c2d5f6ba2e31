-- summary: One row per explanation and simulator: the metrics side by side, with control and interval.
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
    s.scorer,
    s.scorer_model,
    s.calibration,
    s.split,
    max(s.value) FILTER (WHERE s.metric = 'ev_correlation' AND s.sample_set = 'top_and_random') AS value,
    max(s.control) FILTER (WHERE s.metric = 'ev_correlation' AND s.sample_set = 'top_and_random') AS control,
    max(s.low) FILTER (WHERE s.metric = 'ev_correlation' AND s.sample_set = 'top_and_random') AS low,
    max(s.high) FILTER (WHERE s.metric = 'ev_correlation' AND s.sample_set = 'top_and_random') AS high,
    max(s.value) FILTER (WHERE s.metric = 'ev_correlation' AND s.sample_set = 'random_only') AS random_only,
    max(s.value) FILTER (WHERE s.metric = 'ev_correlation' AND s.sample_set = 'top_only') AS top_only,
    max(s.value) FILTER (WHERE s.metric = 'explained_variance' AND s.sample_set = 'top_and_random') AS explained_variance,
    max(s.reason) FILTER (WHERE s.metric = 'ev_correlation' AND s.sample_set = 'top_and_random') AS reason
FROM explanations e
JOIN scores s
    ON s.model = e.model
    AND s.hook_point = e.hook_point
    AND s.explanation = e.explanation
WHERE s.metric IN ('ev_correlation', 'explained_variance')
GROUP BY
    e.model, e.hook_point, e.layer, e.neuron, e.corpus, e.explanation, e.explainer, e.explainer_model, e.text, s.scorer,
    s.scorer_model, s.calibration, s.split
