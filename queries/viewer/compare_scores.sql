-- summary: Every score of two explanations, side by side.
-- reads: scores
-- params: $model, $a, $b
SELECT
    scorer,
    scorer_model,
    calibration,
    metric,
    sample_set,
    split,
    max(value) FILTER (WHERE explanation = $a) AS a,
    max(low) FILTER (WHERE explanation = $a) AS a_low,
    max(high) FILTER (WHERE explanation = $a) AS a_high,
    max(control) FILTER (WHERE explanation = $a) AS a_control,
    max(reason) FILTER (WHERE explanation = $a) AS a_reason,
    max(value) FILTER (WHERE explanation = $b) AS b,
    max(low) FILTER (WHERE explanation = $b) AS b_low,
    max(high) FILTER (WHERE explanation = $b) AS b_high,
    max(control) FILTER (WHERE explanation = $b) AS b_control,
    max(reason) FILTER (WHERE explanation = $b) AS b_reason,
    max(value) FILTER (WHERE explanation = $b) - max(value) FILTER (WHERE explanation = $a) AS difference
FROM scores
WHERE model = $model
AND explanation IN ($a, $b)
GROUP BY scorer, scorer_model, calibration, metric, sample_set, split
ORDER BY metric <> 'ev_correlation', metric, scorer, scorer_model, calibration, sample_set <> 'top_and_random', sample_set, split DESC
