-- summary: The largest activations of a subject model's units over a text, among those for which the condition holds.
-- reads:
-- params: $model, $text, $hook_point = 'blocks.*.mlp.hook_post', $condition = TRUE, $limit = 1000
SELECT
    hook_point,
    layer,
    neuron,
    position,
    token,
    activation
FROM activations_on($model, $text, $hook_point)
WHERE $condition
ORDER BY activation DESC, hook_point, neuron, position
LIMIT $limit
