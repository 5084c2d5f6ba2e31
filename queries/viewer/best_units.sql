-- summary: The best explained units.
-- reads: best_explanations
SELECT
    model,
    hook_point,
    layer,
    neuron,
    corpus,
    text,
    value AS score,
    control
FROM best_explanations
ORDER BY value DESC, model, hook_point, neuron
LIMIT 8
