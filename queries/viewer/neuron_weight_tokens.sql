-- summary: Tokens that a unit acts on, or that act on it, by the weights of a model at hand.
-- reads:
-- params: $model_source, $hook_point, $neurons, $top = 20
SELECT direction, sign, rank, token, strength
FROM weight_tokens($model_source, $hook_point, $neurons, $top)
ORDER BY direction, sign DESC, rank
