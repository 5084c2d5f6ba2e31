-- summary: Simulates a text on the held-out windows of a unit and scores it, as the pipeline scores explanations.
-- reads: activation_records, token_sequences
-- params: $model, $hook_point, $neuron, $corpus, $text, $simulator, $windows = 5, $seed = 0
SELECT
    g.sample_set,
    simulation_scale($simulator) AS scale,
    score_summaries(w.sums, $seed) AS summaries,
    array_agg(
        named_struct(
            'sample', w.sample,
            'rank', w.rank,
            'split', w.split,
            'sequence', w.sequence,
            'document', w.document,
            'max_activation', w.max_activation,
            'tokens', w.tokens,
            'activations', w.activations,
            'expected', w.simulated['expected'],
            'reason', w.simulated['reason']
        ) ORDER BY w.sample DESC, w.rank
    ) FILTER (WHERE g.sample_set = 'top_and_random') AS windows
FROM (
    SELECT
        sample,
        rank,
        split,
        sequence,
        document,
        max_activation,
        tokens,
        activations,
        simulated,
        window_sums(activations, simulated['expected']) AS sums
    FROM (
        SELECT
            r.sample,
            r.rank,
            r.split,
            r.sequence,
            s.document,
            r.max_activation,
            s.tokens,
            r.activations,
            simulation($text, s.tokens, $simulator) AS simulated
        FROM activation_records r
        JOIN token_sequences s ON s.sequence = r.sequence
        WHERE r.model = $model
        AND r.hook_point = $hook_point
        AND r.neuron = $neuron
        AND r.corpus = $corpus
        AND r.split = 'valid'
        AND r.sample IN ('top', 'random')
        AND r.rank < $windows
        AND s.model = $model
        AND s.corpus = $corpus
    )
) w
JOIN (
    VALUES
        ('top_and_random', 'top'),
        ('top_and_random', 'random'),
        ('random_only', 'random'),
        ('top_only', 'top')
) g (sample_set, sample) ON g.sample = w.sample
GROUP BY g.sample_set
ORDER BY g.sample_set
