-- summary: The tokens of a text, as the subject model cuts it.
-- reads:
-- params: $model, $text, $hook_point
SELECT
    position,
    first_value(token ORDER BY hook_point) AS token
FROM activations_on($model, $text, $hook_point, 'keep')
WHERE neuron = 0
GROUP BY position
ORDER BY position
