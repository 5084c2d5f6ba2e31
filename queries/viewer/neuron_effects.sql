-- summary: Tokens that a unit acts on, or that act on it, by weights alone.
-- reads: token_effects
-- params: $model, $hook_point, $neuron, $top = 20
SELECT direction, sign, rank, token, strength
FROM token_effects
WHERE model = $model
AND hook_point = $hook_point
AND neuron = $neuron
AND rank < $top
ORDER BY direction, sign DESC, rank
LIMIT 200
