-- summary: Explanations whose simulations, or judgements in their place, are older than a text or a window that they were made of.
-- reads: activation_records, explanations, simulations
-- params: $model, $hook_point, $corpus, $first_neuron, $last_neuron, $explainer, $explainer_model, $simulator, $simulator_model, $split
WITH made AS (
    SELECT
        s.neuron,
        s.explanation,
        s.source_explanation,
        min(o.place) AS place
    FROM simulations s
    JOIN incremental.run_order o ON o.run = s.run
    WHERE s.model = $model
    AND s.hook_point = $hook_point
    AND s.corpus = $corpus
    AND s.neuron BETWEEN $first_neuron AND $last_neuron
    AND s.simulator = $simulator
    AND COALESCE(s.simulator_model, '') = $simulator_model
    AND s.split = $split
    AND o.own
    GROUP BY s.neuron, s.explanation, s.source_explanation
),
texts AS (
    SELECT
        e.explanation,
        e.explainer = $explainer AND COALESCE(e.explainer_model, '') = $explainer_model AS of_explainer,
        o.place
    FROM explanations e
    JOIN incremental.run_order o ON o.run = e.run
    WHERE e.model = $model
    AND e.hook_point = $hook_point
    AND e.corpus = $corpus
),
windows AS (
    SELECT r.neuron, max(o.place) AS place
    FROM activation_records r
    JOIN incremental.run_order o ON o.run = r.run
    WHERE r.model = $model
    AND r.hook_point = $hook_point
    AND r.corpus = $corpus
    AND r.neuron BETWEEN $first_neuron AND $last_neuron
    AND r.split = $split
    GROUP BY r.neuron
)
SELECT m.explanation AS key, 'its text was written anew' AS reason
FROM made m
JOIN texts t ON t.explanation = m.explanation
WHERE t.of_explainer
AND t.place > m.place
UNION ALL
-- The text of a control is another unit's.
SELECT m.explanation AS key, 'the text of its control was written anew' AS reason
FROM made m
JOIN texts t ON t.explanation = m.explanation
LEFT JOIN texts c ON c.explanation = m.source_explanation
WHERE t.of_explainer
AND m.source_explanation <> m.explanation
AND (c.place IS NULL OR c.place > m.place)
UNION ALL
SELECT m.explanation AS key, 'its windows were collected anew' AS reason
FROM made m
JOIN texts t ON t.explanation = m.explanation
JOIN windows w ON w.neuron = m.neuron
WHERE t.of_explainer
AND w.place > m.place
ORDER BY key
