-- summary: Explanations whose scores are older than the simulations they sum up, or whose simulations are gone.
-- reads: activation_records, scores, simulations
-- params: $model, $hook_point, $corpus, $first_neuron, $last_neuron, $simulator, $simulator_model, $calibration, $ablation, $split
WITH scored AS (
    SELECT
        s.neuron,
        s.explanation,
        min(o.place) AS place
    FROM scores s
    JOIN incremental.run_order o ON o.run = s.run
    WHERE s.model = $model
    AND s.hook_point = $hook_point
    AND s.corpus = $corpus
    AND s.neuron BETWEEN $first_neuron AND $last_neuron
    AND s.scorer = $simulator
    AND COALESCE(s.scorer_model, '') = $simulator_model
    AND s.split = $split
    AND s.calibration = $calibration
    AND (s.metric = 'ablation') = ($ablation = 'yes')
    AND s.metric IN ('ev_correlation', 'explained_variance', 'rsquared_uncentred', 'absolute_dev_explained', 'ablation')
    AND o.own
    GROUP BY s.neuron, s.explanation
),
made AS (
    SELECT m.explanation, max(o.place) AS place
    FROM simulations m
    JOIN incremental.run_order o ON o.run = m.run
    WHERE m.model = $model
    AND m.hook_point = $hook_point
    AND m.corpus = $corpus
    AND m.neuron BETWEEN $first_neuron AND $last_neuron
    AND m.simulator = $simulator
    AND COALESCE(m.simulator_model, '') = $simulator_model
    AND m.split IN ($split, CASE WHEN $calibration = 'none' THEN $split ELSE 'calibration' END)
    GROUP BY m.explanation
)
SELECT
    s.explanation AS key,
    CASE WHEN m.place IS NULL THEN 'its simulations are gone' ELSE 'its simulations were made anew' END AS reason
FROM scored s
LEFT JOIN made m ON m.explanation = s.explanation
WHERE m.place IS NULL
OR m.place > s.place
UNION ALL
SELECT s.explanation AS key, 'its windows were collected anew' AS reason
FROM scored s
JOIN (
    SELECT r.neuron, max(o.place) AS place
    FROM activation_records r
    JOIN incremental.run_order o ON o.run = r.run
    WHERE r.model = $model
    AND r.hook_point = $hook_point
    AND r.corpus = $corpus
    AND r.neuron BETWEEN $first_neuron AND $last_neuron
    AND r.split = $split
    GROUP BY r.neuron
) w ON w.neuron = s.neuron
WHERE w.place > s.place
ORDER BY key
