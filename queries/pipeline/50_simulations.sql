-- summary: Simulates every token lookup, and as a control the lookup of another unit, on windows the explainer never saw.
-- reads: explanations, token_activations, activation_records, token_sequences, simulations
-- writes: simulations
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $corpus, $hook_point, $first_neuron, $last_neuron, $explainer, $simulator, $split, $windows, $seed
INSERT INTO simulations
WITH pairs AS (
    -- A single cycle in a seeded random order: every unit meets another unit's explanation, none its own.
    SELECT
        neuron,
        explanation,
        COALESCE(LEAD(neuron) OVER (ORDER BY place, neuron), FIRST_VALUE(neuron) OVER (ORDER BY place, neuron))
            AS control_neuron
    FROM (
        SELECT
            neuron,
            explanation,
            encode(sha256(concat_ws('|', $seed, neuron)), 'hex') AS place
        FROM explanations
        WHERE model = $model
        AND hook_point = $hook_point
        AND corpus = $corpus
        AND explainer = $explainer
        AND sample_no = 0
    )
),
texts AS (
    SELECT
        e.neuron,
        e.explanation,
        e.text,
        named_struct('deviation', CAST(NULL AS DOUBLE), 'tokens', t.tokens) AS evidence
    FROM explanations e
    JOIN (
        SELECT
            neuron,
            array_agg(
                named_struct(
                    'token_id', token_id,
                    'token', token,
                    'mean_activation', mean_activation,
                    'n_occurrences', n_occurrences
                )
            ) AS tokens
        FROM token_activations
        WHERE model = $model
        AND hook_point = $hook_point
        AND corpus = $corpus
        GROUP BY neuron
    ) t ON t.neuron = e.neuron
    WHERE e.model = $model
    AND e.hook_point = $hook_point
    AND e.corpus = $corpus
    AND e.explainer = $explainer
    AND e.sample_no = 0
),
trials AS (
    -- Not by UNION ALL, which Ballista gives to workers with rows repeated.
    SELECT
        pairs.neuron,
        pairs.explanation,
        c.control,
        CASE WHEN c.control THEN pairs.control_neuron ELSE pairs.neuron END AS source_neuron
    FROM pairs
    CROSS JOIN (VALUES (false), (true)) c (control)
    WHERE NOT c.control
    OR pairs.control_neuron <> pairs.neuron
)
SELECT
    r.model,
    r.hook_point,
    r.layer,
    r.neuron,
    r.corpus,
    trials.explanation,
    trials.control,
    texts.explanation AS source_explanation,
    $simulator AS simulator,
    CAST(NULL AS VARCHAR) AS simulator_model,
    simulation_scale($simulator) AS scale,
    r.sample,
    r.rank,
    r.sequence,
    r.split,
    simulate(texts.text, s.tokens, $simulator, texts.evidence) AS expected,
    CAST(NULL AS FLOAT) AS number_mass,
    CAST(NULL AS FLOAT[]) AS distribution,
    CAST(NULL AS VARCHAR) AS reason,
    CAST(NULL AS VARCHAR[]) AS completions,
    $run AS run
FROM activation_records r
JOIN trials ON trials.neuron = r.neuron
JOIN texts ON texts.neuron = trials.source_neuron
JOIN token_sequences s ON s.sequence = r.sequence
LEFT ANTI JOIN (
    SELECT DISTINCT explanation
    FROM simulations
    WHERE model = $model
    AND hook_point = $hook_point
    AND corpus = $corpus
    AND simulator = $simulator
    AND split = $split
) done ON done.explanation = trials.explanation
WHERE r.model = $model
AND r.hook_point = $hook_point
AND r.corpus = $corpus
AND r.neuron BETWEEN $first_neuron AND $last_neuron
AND r.split = $split
AND r.sample IN ('top', 'random')
AND r.rank < $windows
AND s.model = $model
AND s.corpus = $corpus
ORDER BY r.neuron, trials.explanation, trials.control, r.sample, r.rank
