-- summary: Every explanation of a unit and where it comes from.
-- reads: explanations, runs
-- params: $model, $hook_point, $first_neuron, $last_neuron, $corpus, $rows = 200
SELECT
    e.neuron,
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
AND e.neuron BETWEEN $first_neuron AND $last_neuron
AND e.corpus = $corpus
ORDER BY e.neuron, e.explainer, e.explainer_model, e.sample_no, e.round
LIMIT $rows
