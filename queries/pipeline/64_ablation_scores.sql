-- summary: Puts calibrated simulations in place of the real activations and compares what the subject model then predicts.
-- reads: simulations, activation_records, token_sequences, neurons, scores
-- writes: scores
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $model_source, $corpus, $hook_point, $first_neuron, $last_neuron, $simulator, $simulator_model, $calibration, $split, $seed
INSERT INTO scores
WITH calibrations AS (
    SELECT
        s.explanation,
        s.control,
        fit_calibration(r.activations, s.expected, $calibration) AS fit
    FROM simulations s
    JOIN activation_records r
        ON r.neuron = s.neuron
        AND r.sequence = s.sequence
        AND r.sample = s.sample
        AND r.split = s.split
    WHERE s.model = $model
    AND s.hook_point = $hook_point
    AND s.corpus = $corpus
    AND s.neuron BETWEEN $first_neuron AND $last_neuron
    AND s.simulator = $simulator
    AND COALESCE(s.simulator_model, '') = $simulator_model
    AND s.split = 'calibration'
    AND $calibration <> 'none'
    AND r.model = $model
    AND r.hook_point = $hook_point
    AND r.corpus = $corpus
    AND r.split = 'calibration'
    GROUP BY s.explanation, s.control
),
pairs AS (
    SELECT
        s.layer,
        s.neuron,
        s.explanation,
        s.control,
        s.sample,
        t.token_ids,
        calibrate(s.expected, CASE WHEN $calibration = 'none' THEN 'none' ELSE c.fit END) AS simulated,
        n.mean,
        -- All units that share a window meet in a batch, and its unchanged pass is made once.
        row_number() OVER (PARTITION BY s.sequence ORDER BY s.neuron, s.explanation, s.control, s.sample) AS place
    FROM simulations s
    JOIN token_sequences t ON t.sequence = s.sequence
    JOIN neurons n ON n.neuron = s.neuron
    LEFT JOIN calibrations c
        ON c.explanation = s.explanation
        AND c.control = s.control
    LEFT ANTI JOIN (
        SELECT DISTINCT explanation
        FROM scores
        WHERE model = $model
        AND hook_point = $hook_point
        AND corpus = $corpus
        AND scorer = $simulator
        AND COALESCE(scorer_model, '') = $simulator_model
        AND calibration = $calibration
        AND split = $split
        AND metric = 'ablation'
    ) done ON done.explanation = s.explanation
    WHERE s.model = $model
    AND s.hook_point = $hook_point
    AND s.corpus = $corpus
    AND s.neuron BETWEEN $first_neuron AND $last_neuron
    AND s.simulator = $simulator
    AND COALESCE(s.simulator_model, '') = $simulator_model
    AND s.split = $split
    AND t.model = $model
    AND t.corpus = $corpus
    AND n.model = $model
    AND n.hook_point = $hook_point
    AND n.corpus = $corpus
),
windows AS (
    SELECT
        layer,
        neuron,
        explanation,
        control,
        sample,
        array_length(token_ids) AS n_tokens,
        ablation($model_source, $hook_point, neuron, token_ids, simulated, mean) AS divergences
    FROM pairs
    WHERE place > 0
),
summaries AS (
    SELECT
        w.layer,
        w.neuron,
        w.explanation,
        g.sample_set,
        ablation_summaries(w.divergences, w.n_tokens, $seed) FILTER (WHERE NOT w.control) AS own,
        -- Of the control only the value is kept: no seed, no interval.
        ablation_summaries(w.divergences, w.n_tokens, CAST(NULL AS BIGINT)) FILTER (WHERE w.control) AS control
    FROM windows w
    JOIN (
        VALUES
            ('top_and_random', 'top'),
            ('top_and_random', 'random'),
            ('random_only', 'random')
    ) g (sample_set, sample) ON g.sample = w.sample
    GROUP BY w.layer, w.neuron, w.explanation, g.sample_set
)
SELECT
    $model AS model,
    $hook_point AS hook_point,
    layer,
    neuron,
    $corpus AS corpus,
    explanation,
    $simulator AS scorer,
    NULLIF($simulator_model, '') AS scorer_model,
    $calibration AS calibration,
    o['metric'] AS metric,
    sample_set,
    $split AS split,
    o['value'] AS value,
    c['value'] AS control,
    o['low'] AS low,
    o['high'] AS high,
    o['reason'] AS reason,
    o['n_windows'] AS n_windows,
    o['n_tokens'] AS n_tokens,
    o['n_failed'] AS n_failed,
    $run AS run
FROM (
    SELECT layer, neuron, explanation, sample_set, unnest(own) AS o, unnest(control) AS c
    FROM summaries
)
ORDER BY neuron, explanation, sample_set
