-- summary: Scores of one unit's explanations, every number that there is.
-- reads: scores
-- params: $model, $hook_point, $neuron
SELECT
    corpus,
    explanation,
    scorer,
    scorer_model,
    calibration,
    metric,
    sample_set,
    split,
    value,
    control,
    low,
    high,
    reason,
    n_windows,
    n_tokens,
    n_failed,
    run
FROM scores
WHERE model = $model
AND hook_point = $hook_point
AND neuron = $neuron
ORDER BY corpus, explanation, scorer, scorer_model, metric, sample_set, split, calibration
