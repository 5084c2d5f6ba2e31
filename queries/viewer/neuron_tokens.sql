-- summary: Tokens on which a unit fires most in the mean.
-- reads: token_activations
-- params: $model, $hook_point, $first_neuron, $last_neuron, $corpus, $top = 20, $rows = 100
SELECT neuron, token_id, token, mean_activation, n_occurrences
FROM (
    SELECT
        neuron,
        token_id,
        token,
        mean_activation,
        n_occurrences,
        row_number() OVER (PARTITION BY neuron ORDER BY mean_activation DESC, token_id) AS place
    FROM token_activations
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron BETWEEN $first_neuron AND $last_neuron
    AND corpus = $corpus
    AND token IS NOT NULL
)
WHERE place <= $top
ORDER BY neuron, place
LIMIT $rows
