-- summary: Windows that the explanations of a unit were scored on: what the unit did and what a simulator expected.
-- reads: simulations, activation_records, token_sequences
-- params: $model, $hook_point, $first_neuron, $last_neuron, $corpus, $simulator, $simulator_model, $windows = 40, $rows = 400
SELECT
    s.neuron,
    s.explanation,
    s.sample,
    s.rank,
    s.split,
    s.sequence,
    t.document,
    r.max_activation,
    t.tokens,
    r.activations,
    s.expected,
    s.scale,
    s.reason
FROM (
    SELECT
        neuron,
        explanation,
        sample,
        rank,
        split,
        sequence,
        expected,
        scale,
        reason,
        row_number() OVER (PARTITION BY neuron, explanation ORDER BY sample DESC, split, rank) AS place
    FROM simulations
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron BETWEEN $first_neuron AND $last_neuron
    AND corpus = $corpus
    AND simulator = $simulator
    AND COALESCE(simulator_model, '') = $simulator_model
    AND NOT control
) s
JOIN activation_records r
    ON r.neuron = s.neuron
    AND r.sequence = s.sequence
    AND r.sample = s.sample
    AND r.split = s.split
JOIN token_sequences t ON t.sequence = s.sequence
WHERE s.place <= $windows
AND r.model = $model
AND r.hook_point = $hook_point
AND r.neuron BETWEEN $first_neuron AND $last_neuron
AND r.corpus = $corpus
AND t.model = $model
AND t.corpus = $corpus
ORDER BY s.neuron, s.explanation, s.place
LIMIT $rows
