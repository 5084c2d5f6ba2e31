-- summary: Explanations older than the evidence they were written from, or than the text they revise.
-- reads: activation_records, explanations, token_activations
-- params: $model, $hook_point, $corpus, $first_neuron, $last_neuron, $explainer, $explainer_model, $round
WITH written AS (
    SELECT
        e.neuron,
        e.explanation,
        e.revised,
        o.place
    FROM explanations e
    JOIN incremental.run_order o ON o.run = e.run
    WHERE e.model = $model
    AND e.hook_point = $hook_point
    AND e.corpus = $corpus
    AND e.neuron BETWEEN $first_neuron AND $last_neuron
    AND e.explainer = $explainer
    AND COALESCE(e.explainer_model, '') = $explainer_model
    AND e.round = $round
    AND o.own
),
evidence AS (
    SELECT t.neuron, o.place
    FROM token_activations t
    JOIN incremental.run_order o ON o.run = t.run
    WHERE t.model = $model
    AND t.hook_point = $hook_point
    AND t.corpus = $corpus
    AND t.neuron BETWEEN $first_neuron AND $last_neuron
    AND $explainer = 'token_lookup'
    UNION ALL
    SELECT r.neuron, o.place
    FROM activation_records r
    JOIN incremental.run_order o ON o.run = r.run
    WHERE r.model = $model
    AND r.hook_point = $hook_point
    AND r.corpus = $corpus
    AND r.neuron BETWEEN $first_neuron AND $last_neuron
    AND $explainer <> 'token_lookup'
)
SELECT w.explanation AS key, 'its evidence was collected anew' AS reason
FROM written w
JOIN (
    SELECT neuron, max(place) AS place
    FROM evidence
    GROUP BY neuron
) e ON e.neuron = w.neuron
WHERE e.place > w.place
UNION ALL
SELECT w.explanation AS key, 'the text that it revises was written anew' AS reason
FROM written w
JOIN explanations d ON d.explanation = w.revised
JOIN incremental.run_order o ON o.run = d.run
WHERE d.model = $model
AND d.hook_point = $hook_point
AND o.place > w.place
ORDER BY key
