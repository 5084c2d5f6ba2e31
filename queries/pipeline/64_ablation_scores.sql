-- summary: Puts calibrated simulations in place of the real activations and compares what the subject model then predicts.
-- reads: simulations, activation_records, token_sequences, neurons, scores
-- writes: scores
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $model_source, $corpus, $hook_point, $first_neuron, $last_neuron, $simulator, $simulator_model, $calibration, $split
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
windows AS (
    SELECT
        s.layer,
        s.neuron,
        s.explanation,
        s.control,
        s.sample,
        array_length(t.token_ids) AS n_tokens,
        ablation(
            $model_source,
            $hook_point,
            s.neuron,
            t.token_ids,
            calibrate(s.expected, CASE WHEN $calibration = 'none' THEN 'none' ELSE c.fit END),
            n.mean
        ) AS divergence
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
sums AS (
    SELECT
        w.layer,
        w.neuron,
        w.explanation,
        g.sample_set,
        avg(w.divergence['simulated']) FILTER (WHERE NOT w.control) AS simulated,
        avg(w.divergence['mean']) FILTER (WHERE NOT w.control) AS mean,
        avg(w.divergence['simulated']) FILTER (WHERE w.control) AS control_simulated,
        avg(w.divergence['mean']) FILTER (WHERE w.control) AS control_mean,
        count(w.divergence['simulated']) FILTER (WHERE NOT w.control) AS n_windows,
        sum(w.n_tokens) FILTER (WHERE NOT w.control AND w.divergence['simulated'] IS NOT NULL) AS n_tokens,
        count(*) FILTER (WHERE NOT w.control AND w.divergence['simulated'] IS NULL) AS n_failed
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
    'ablation' AS metric,
    sample_set,
    $split AS split,
    CASE WHEN mean > 0 THEN 1 - simulated / mean END AS value,
    CASE WHEN control_mean > 0 THEN 1 - control_simulated / control_mean END AS control,
    CAST(NULL AS DOUBLE) AS low,
    CAST(NULL AS DOUBLE) AS high,
    CASE
        WHEN n_windows = 0 THEN 'no window with a simulation'
        WHEN mean > 0 THEN NULL
        ELSE 'replacing the unit by its mean changes nothing'
    END AS reason,
    CAST(n_windows AS INT) AS n_windows,
    CAST(COALESCE(n_tokens, 0) AS BIGINT) AS n_tokens,
    CAST(n_failed AS INT) AS n_failed,
    $run AS run
FROM sums
ORDER BY neuron, explanation, sample_set
