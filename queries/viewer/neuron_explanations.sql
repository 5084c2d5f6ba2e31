-- summary: Every explanation of a unit and where it comes from.
-- reads: explanations, runs
-- params: $model, $hook_point, $neuron, $corpus
SELECT
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
AND e.corpus = $corpus
ORDER BY e.explainer, e.explainer_model, e.sample_no, e.round
LIMIT 200
