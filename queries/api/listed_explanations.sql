-- summary: Explanations of one unit, with where each came from.
-- reads: explanations, runs
-- params: $model, $hook_point, $neuron
SELECT
    e.corpus,
    e.explanation,
    e.explainer,
    e.explainer_model,
    e.sample_no,
    e.round,
    e.revised,
    e.text,
    e.reason,
    e.run,
    r.started_at,
    r.code_version
FROM explanations e
LEFT JOIN runs r ON r.run = e.run
WHERE e.model = $model
AND e.hook_point = $hook_point
AND e.neuron = $neuron
ORDER BY e.corpus, e.explainer, e.explainer_model, e.round, e.sample_no
