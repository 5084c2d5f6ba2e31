-- summary: How strongly each token of a text moves the unit it moves most, layer by layer, as a share of the unit's largest activation.
-- reads: neurons
-- params: $model, $text, $hook_point
SELECT
    f.hook_point,
    f.layer,
    f.position,
    max(f.activation) AS activation,
    max(f.activation / s.most) AS of_max,
    first_value(f.neuron ORDER BY f.activation / s.most DESC, f.activation DESC, f.neuron) AS neuron
FROM activations_on($model, $text, $hook_point) f
LEFT JOIN (
    SELECT
        model,
        hook_point,
        neuron,
        nullif(greatest(max(max), 0), 0) AS most
    FROM neurons
    GROUP BY model, hook_point, neuron
) s
    ON s.model = f.model
    AND s.hook_point = f.hook_point
    AND s.neuron = f.neuron
WHERE f.activation > 0
GROUP BY f.hook_point, f.layer, f.position
ORDER BY f.layer, f.hook_point, f.position
