-- summary: Windows of one unit with what each of two explanations makes of them: real and simulated activations, never of split train.
-- reads: record_tokens, simulations
-- params: $model, $hook_point, $neuron, $a, $b, $top = 10
SELECT
    r.corpus,
    r.sample,
    r.rank,
    r.split,
    r.tokens,
    r.activations,
    a.expected AS a_expected,
    a.simulator AS a_simulator,
    b.expected AS b_expected,
    b.simulator AS b_simulator
FROM record_tokens r
LEFT JOIN (
    SELECT
        corpus,
        sample,
        rank,
        split,
        sequence,
        first_value(expected ORDER BY simulator, simulator_model) AS expected,
        first_value(simulator ORDER BY simulator, simulator_model) AS simulator
    FROM simulations
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron = $neuron
    AND explanation = $a
    AND NOT control
    GROUP BY corpus, sample, rank, split, sequence
) a
    ON a.corpus = r.corpus
    AND a.sample = r.sample
    AND a.rank = r.rank
    AND a.split = r.split
    AND a.sequence = r.sequence
LEFT JOIN (
    SELECT
        corpus,
        sample,
        rank,
        split,
        sequence,
        first_value(expected ORDER BY simulator, simulator_model) AS expected,
        first_value(simulator ORDER BY simulator, simulator_model) AS simulator
    FROM simulations
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron = $neuron
    AND explanation = $b
    AND NOT control
    GROUP BY corpus, sample, rank, split, sequence
) b
    ON b.corpus = r.corpus
    AND b.sample = r.sample
    AND b.rank = r.rank
    AND b.split = r.split
    AND b.sequence = r.sequence
WHERE r.model = $model
AND r.hook_point = $hook_point
AND r.neuron = $neuron
AND r.split <> 'train'
AND (a.expected IS NOT NULL OR b.expected IS NOT NULL)
ORDER BY r.sample <> 'top', r.sample, r.rank, r.corpus
LIMIT $top
