-- summary: The corpora that a unit has anything of.
-- reads: neurons, explanations, activation_records, token_activations
-- params: $model, $hook_point, $neuron
SELECT corpus, max(layer) AS layer, sum(n_rows) AS n_rows
FROM (
    SELECT corpus, layer, count(*) AS n_rows
    FROM neurons
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron = $neuron
    GROUP BY corpus, layer
    UNION ALL
    SELECT corpus, layer, count(*) AS n_rows
    FROM explanations
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron = $neuron
    GROUP BY corpus, layer
    UNION ALL
    SELECT corpus, layer, count(*) AS n_rows
    FROM activation_records
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron = $neuron
    GROUP BY corpus, layer
    UNION ALL
    SELECT corpus, layer, count(*) AS n_rows
    FROM token_activations
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron = $neuron
    GROUP BY corpus, layer
)
GROUP BY corpus
ORDER BY n_rows DESC, corpus
LIMIT 50
