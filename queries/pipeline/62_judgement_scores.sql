-- summary: Compares judgements with the truth: accuracy, balance, precision, recall, ranking, with control and interval.
-- reads: judgements, scores
-- writes: scores
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $corpus, $hook_point, $first_neuron, $last_neuron, $scorer, $scorer_model, $split, $seed
INSERT INTO scores
WITH summaries AS (
    SELECT
        j.layer,
        j.neuron,
        j.explanation,
        judgement_summaries(j.activating, j.predicted, j.value, $seed) FILTER (WHERE NOT j.control) AS own,
        -- Of the control only the value is kept: no seed, no interval.
        judgement_summaries(j.activating, j.predicted, j.value, CAST(NULL AS BIGINT)) FILTER (WHERE j.control) AS control
    FROM judgements j
    LEFT ANTI JOIN (
        SELECT DISTINCT explanation
        FROM scores
        WHERE model = $model
        AND hook_point = $hook_point
        AND corpus = $corpus
        AND scorer = $scorer
        AND COALESCE(scorer_model, '') = $scorer_model
        AND split = $split
        -- A simulator may have the same name as a judge.
        AND metric NOT IN ('ev_correlation', 'explained_variance', 'rsquared_uncentred', 'absolute_dev_explained', 'ablation')
    ) done ON done.explanation = j.explanation
    WHERE j.model = $model
    AND j.hook_point = $hook_point
    AND j.corpus = $corpus
    AND j.neuron BETWEEN $first_neuron AND $last_neuron
    AND j.scorer = $scorer
    AND COALESCE(j.scorer_model, '') = $scorer_model
    AND j.split = $split
    GROUP BY j.layer, j.neuron, j.explanation
)
SELECT
    $model AS model,
    $hook_point AS hook_point,
    layer,
    neuron,
    $corpus AS corpus,
    explanation,
    $scorer AS scorer,
    NULLIF($scorer_model, '') AS scorer_model,
    'none' AS calibration,
    o['metric'] AS metric,
    'top_and_random' AS sample_set,
    $split AS split,
    o['value'] AS value,
    c['value'] AS control,
    o['low'] AS low,
    o['high'] AS high,
    o['reason'] AS reason,
    o['n_windows'] AS n_windows,
    CAST(0 AS BIGINT) AS n_tokens,
    o['n_failed'] AS n_failed,
    $run AS run
FROM (
    SELECT layer, neuron, explanation, unnest(own) AS o, unnest(control) AS c
    FROM summaries
)
-- Of each scorer only the metrics that mean something (docs/scorers.md).
WHERE CASE
    WHEN $scorer = 'intruder' THEN o['metric'] = 'hit_rate'
    WHEN $scorer IN ('embedding', 'surprisal') THEN o['metric'] = 'roc_auc'
    ELSE o['metric'] <> 'hit_rate'
END
ORDER BY neuron, explanation, metric
