-- summary: Windows where an explanation misses most: the largest gap between what the unit does and what it should do.
-- reads: simulations, activation_records, token_sequences
-- params: $split = 'valid', $limit = 10
SELECT
    s.layer,
    s.neuron,
    round(array_max(r.activations) - array_max(s.expected), 2) AS gap,
    heatmap(t.tokens, r.activations) AS heatmap
FROM simulations s
JOIN activation_records r
    ON r.model = s.model
    AND r.hook_point = s.hook_point
    AND r.neuron = s.neuron
    AND r.sequence = s.sequence
    AND r.sample = s.sample
    AND r.split = s.split
JOIN token_sequences t
    ON t.model = s.model
    AND t.corpus = s.corpus
    AND t.sequence = s.sequence
WHERE NOT s.control
AND s.split = $split
AND r.split = $split
ORDER BY gap DESC, s.layer, s.neuron
LIMIT $limit
