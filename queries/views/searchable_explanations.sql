-- summary: One row per explanation that has a text: its unit, explainer and text, its best score (ev_correlation, top and random windows, split valid), and the unit's density and largest activation.
-- reads: explanations, scores, neurons
SELECT
    CAST(e.model AS VARCHAR) AS model,
    CAST(e.hook_point AS VARCHAR) AS hook_point,
    e.layer,
    e.neuron,
    CAST(e.corpus AS VARCHAR) AS corpus,
    CAST(e.explanation AS VARCHAR) AS explanation,
    CAST(e.explainer AS VARCHAR) AS explainer,
    CAST(e.explainer_model AS VARCHAR) AS explainer_model,
    CAST(e.text AS VARCHAR) AS text,
    s.score,
    n.density,
    n.max AS max_activation
FROM explanations e
LEFT JOIN (
    SELECT
        model,
        hook_point,
        neuron,
        explanation,
        max(value) AS score
    FROM scores
    WHERE metric = 'ev_correlation'
    AND sample_set = 'top_and_random'
    AND split = 'valid'
    GROUP BY model, hook_point, neuron, explanation
) s
    ON s.model = e.model
    AND s.hook_point = e.hook_point
    AND s.neuron = e.neuron
    AND s.explanation = e.explanation
LEFT JOIN neurons n
    ON n.model = e.model
    AND n.hook_point = e.hook_point
    AND n.neuron = e.neuron
    AND n.corpus = e.corpus
WHERE e.text IS NOT NULL
