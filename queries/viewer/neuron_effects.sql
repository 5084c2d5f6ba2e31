-- summary: Tokens that a unit acts on, or that act on it, by weights alone.
-- reads: token_effects
-- params: $model, $hook_point, $first_neuron, $last_neuron, $top = 20, $rows = 200
SELECT neuron, direction, sign, rank, token, strength
FROM token_effects
WHERE model = $model
AND hook_point = $hook_point
AND neuron BETWEEN $first_neuron AND $last_neuron
AND rank < $top
ORDER BY neuron, direction, sign DESC, rank
LIMIT $rows
