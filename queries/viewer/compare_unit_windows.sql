-- summary: The windows that move either of two units most.
-- reads: record_tokens
-- params: $model, $a_hook_point, $a_neuron, $b_hook_point, $b_neuron, $top = 4
SELECT
    hook_point,
    neuron,
    corpus,
    sequence,
    split,
    max_activation,
    tokens,
    activations
FROM (
    SELECT
        hook_point,
        neuron,
        corpus,
        sequence,
        split,
        max_activation,
        tokens,
        activations,
        row_number() OVER (PARTITION BY hook_point, neuron ORDER BY max_activation DESC, corpus, sequence) AS place
    FROM record_tokens
    WHERE model = $model
    AND sample = 'top'
    AND (
        (hook_point = $a_hook_point AND neuron = $a_neuron)
        OR (hook_point = $b_hook_point AND neuron = $b_neuron)
    )
)
WHERE place <= $top
ORDER BY place, hook_point, neuron
