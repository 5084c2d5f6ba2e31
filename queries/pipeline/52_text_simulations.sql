-- summary: Simulates explanations from their text alone, and as a control the text of another unit, on held-out windows.
-- reads: explanations, chosen_explanations, activation_records, token_sequences, simulations
-- writes: simulations
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $corpus, $hook_point, $first_neuron, $last_neuron, $explainer, $explainer_model, $simulator, $simulator_model, $simulator_source, $split, $windows, $seed
INSERT INTO simulations
WITH candidates AS (
    -- Every sample where the best is still to be found, the best afterwards.
    SELECT neuron, explanation, text, sample_no, round
    FROM explanations
    WHERE model = $model
    AND hook_point = $hook_point
    AND corpus = $corpus
    AND explainer = $explainer
    AND COALESCE(explainer_model, '') = $explainer_model
    AND text IS NOT NULL
    AND $split = 'calibration'
    UNION ALL
    SELECT neuron, explanation, text, CAST(0 AS INT) AS sample_no, CAST(0 AS INT) AS round
    FROM chosen_explanations
    WHERE model = $model
    AND hook_point = $hook_point
    AND corpus = $corpus
    AND explainer = $explainer
    AND COALESCE(explainer_model, '') = $explainer_model
    AND $split <> 'calibration'
),
pairs AS (
    -- A single cycle in a seeded random order: every unit meets another unit's explanation, none its own.
    SELECT
        neuron,
        explanation,
        text,
        COALESCE(LEAD(explanation) OVER ring, FIRST_VALUE(explanation) OVER ring) AS control_explanation,
        COALESCE(LEAD(text) OVER ring, FIRST_VALUE(text) OVER ring) AS control_text
    FROM (
        SELECT
            neuron,
            explanation,
            text,
            sample_no,
            round,
            encode(sha256(concat_ws('|', $seed, neuron)), 'hex') AS place
        FROM candidates
    )
    WINDOW ring AS (PARTITION BY sample_no, round ORDER BY place, neuron)
),
trials AS (
    -- Not by UNION ALL, which Ballista gives to workers with rows repeated.
    SELECT
        pairs.neuron,
        pairs.explanation,
        c.control,
        CASE WHEN c.control THEN pairs.control_explanation ELSE pairs.explanation END AS source_explanation,
        CASE WHEN c.control THEN pairs.control_text ELSE pairs.text END AS text
    FROM pairs
    CROSS JOIN (VALUES (false), (true)) c (control)
    WHERE NOT c.control
    OR pairs.control_explanation <> pairs.explanation
)
SELECT
    model,
    hook_point,
    layer,
    neuron,
    corpus,
    explanation,
    control,
    source_explanation,
    $simulator AS simulator,
    NULLIF($simulator_model, '') AS simulator_model,
    simulation_scale($simulator) AS scale,
    sample,
    rank,
    sequence,
    split,
    simulated['expected'] AS expected,
    simulated['number_mass'] AS number_mass,
    CAST(NULL AS FLOAT[]) AS distribution,
    simulated['reason'] AS reason,
    simulated['completions'] AS completions,
    $run AS run
FROM (
    SELECT
        r.model,
        r.hook_point,
        r.layer,
        r.neuron,
        r.corpus,
        trials.explanation,
        trials.control,
        trials.source_explanation,
        r.sample,
        r.rank,
        r.sequence,
        r.split,
        simulation(trials.text, s.tokens, $simulator_source) AS simulated
    FROM activation_records r
    JOIN trials ON trials.neuron = r.neuron
    JOIN token_sequences s ON s.sequence = r.sequence
    LEFT ANTI JOIN (
        SELECT DISTINCT explanation
        FROM simulations
        WHERE model = $model
        AND hook_point = $hook_point
        AND corpus = $corpus
        AND simulator = $simulator
        AND COALESCE(simulator_model, '') = $simulator_model
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
)
ORDER BY neuron, explanation, control, sample, rank
