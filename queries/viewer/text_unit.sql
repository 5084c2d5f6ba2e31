-- summary: One unit's activation on every token of a text.
-- reads:
-- params: $model, $text, $hook_point, $neuron
SELECT
    position,
    token,
    activation
FROM activations_on($model, $text, $hook_point)
WHERE neuron = $neuron
ORDER BY position
