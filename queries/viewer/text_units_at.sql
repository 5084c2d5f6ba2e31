-- summary: The units that fire strongest on one token of a text, with their best explanations.
-- reads: neurons, searchable_explanations
-- params: $model, $text, $hook_point, $position, $top = 30
SELECT
    u.model,
    u.hook_point,
    u.layer,
    u.neuron,
    u.activation,
    u.of_max,
    u.position,
    u.token,
    e.text AS explanation,
    e.score
FROM (
    SELECT
        f.model,
        f.hook_point,
        f.layer,
        f.neuron,
        f.activation,
        f.activation / s.most AS of_max,
        f.position,
        f.token
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
    AND f.position = $position
    ORDER BY of_max DESC, f.activation DESC, f.hook_point, f.neuron
    LIMIT $top
) u
LEFT JOIN (
    SELECT
        model,
        hook_point,
        neuron,
        first_value(text ORDER BY score DESC, explanation) AS text,
        max(score) AS score
    FROM searchable_explanations
    GROUP BY model, hook_point, neuron
) e
    ON e.model = u.model
    AND e.hook_point = u.hook_point
    AND e.neuron = u.neuron
ORDER BY u.of_max DESC, u.activation DESC, u.hook_point, u.neuron
