-- summary: Windows that one explanation of a unit was scored on: what the unit did and what the simulator expected.
-- reads: simulations, activation_records, token_sequences
-- params: $model, $hook_point, $neuron, $corpus, $explanation, $simulator, $simulator_model
SELECT
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
FROM simulations s
JOIN activation_records r
    ON r.sequence = s.sequence
    AND r.sample = s.sample
    AND r.split = s.split
JOIN token_sequences t ON t.sequence = s.sequence
WHERE s.model = $model
AND s.hook_point = $hook_point
AND s.neuron = $neuron
AND s.corpus = $corpus
AND s.explanation = $explanation
AND s.simulator = $simulator
AND COALESCE(s.simulator_model, '') = $simulator_model
AND NOT s.control
AND r.model = $model
AND r.hook_point = $hook_point
AND r.neuron = $neuron
AND r.corpus = $corpus
AND t.model = $model
AND t.corpus = $corpus
ORDER BY s.sample DESC, s.split, s.rank
LIMIT 40
