-- summary: The corpora that a unit has anything of.
-- reads: neurons, explanations, activation_records, token_activations
-- params: $model, $hook_point, $first_neuron, $last_neuron, $rows = 50
SELECT neuron, corpus, max(layer) AS layer, sum(n_rows) AS n_rows
FROM (
    SELECT neuron, corpus, layer, count(*) AS n_rows
    FROM neurons
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron BETWEEN $first_neuron AND $last_neuron
    GROUP BY neuron, corpus, layer
    UNION ALL
    SELECT neuron, corpus, layer, count(*) AS n_rows
    FROM explanations
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron BETWEEN $first_neuron AND $last_neuron
    GROUP BY neuron, corpus, layer
    UNION ALL
    SELECT neuron, corpus, layer, count(*) AS n_rows
    FROM activation_records
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron BETWEEN $first_neuron AND $last_neuron
    GROUP BY neuron, corpus, layer
    UNION ALL
    SELECT neuron, corpus, layer, count(*) AS n_rows
    FROM token_activations
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron BETWEEN $first_neuron AND $last_neuron
    GROUP BY neuron, corpus, layer
)
GROUP BY neuron, corpus
ORDER BY neuron, n_rows DESC, corpus
LIMIT $rows
