-- summary: One row per unit that the lake holds anything of, with statistics, best explanation and its score: what export --where is about.
-- reads: neurons, activation_records, token_activations, explanations, best_explanations
SELECT
    u.model,
    u.hook_point,
    u.layer,
    u.neuron,
    u.corpus,
    n.mean,
    n.variance,
    n.max,
    n.density,
    b.explainer,
    b.explainer_model,
    b.text,
    b.value AS score,
    b.random_only
FROM (
    SELECT model, hook_point, layer, neuron, corpus
    FROM neurons
    UNION
    SELECT model, hook_point, layer, neuron, corpus
    FROM activation_records
    UNION
    SELECT model, hook_point, layer, neuron, corpus
    FROM token_activations
    UNION
    SELECT model, hook_point, layer, neuron, corpus
    FROM explanations
) u
LEFT JOIN neurons n
    ON n.model = u.model
    AND n.hook_point = u.hook_point
    AND n.neuron = u.neuron
    AND n.corpus = u.corpus
LEFT JOIN best_explanations b
    ON b.model = u.model
    AND b.hook_point = u.hook_point
    AND b.neuron = u.neuron
    AND b.corpus = u.corpus
