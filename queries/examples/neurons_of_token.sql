-- summary: Units that respond to one token more than to the rest, by how far its mean lies above their own.
-- reads: token_activations, neurons
-- params: $token = ' king', $limit = 20
SELECT
    t.layer,
    t.neuron,
    round(t.mean_activation, 3) AS mean_activation,
    t.n_occurrences,
    round((t.mean_activation - n.mean) / sqrt(n.variance), 2) AS deviations_above
FROM token_activations t
JOIN neurons n
    ON n.model = t.model
    AND n.hook_point = t.hook_point
    AND n.neuron = t.neuron
    AND n.corpus = t.corpus
WHERE t.token = $token
AND n.variance > 0
ORDER BY deviations_above DESC, t.layer, t.neuron
LIMIT $limit
