-- summary: Tokens on which a unit fires most in the mean.
-- reads: token_activations
-- params: $model, $hook_point, $neuron, $corpus, $top = 20
SELECT token_id, token, mean_activation, n_occurrences
FROM token_activations
WHERE model = $model
AND hook_point = $hook_point
AND neuron = $neuron
AND corpus = $corpus
AND token IS NOT NULL
ORDER BY mean_activation DESC, token_id
LIMIT $top
