-- summary: Explanations whose scores are older than the judgements they sum up, or whose judgements are gone.
-- reads: scores, judgements
-- params: $model, $hook_point, $corpus, $first_neuron, $last_neuron, $scorer, $scorer_model, $split
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
    AND s.scorer = $scorer
    AND COALESCE(s.scorer_model, '') = $scorer_model
    AND s.split = $split
    AND s.metric NOT IN ('ev_correlation', 'explained_variance', 'rsquared_uncentred', 'absolute_dev_explained', 'ablation')
    AND o.own
    GROUP BY s.neuron, s.explanation
),
made AS (
    SELECT m.explanation, max(o.place) AS place
    FROM judgements m
    JOIN incremental.run_order o ON o.run = m.run
    WHERE m.model = $model
    AND m.hook_point = $hook_point
    AND m.corpus = $corpus
    AND m.neuron BETWEEN $first_neuron AND $last_neuron
    AND m.scorer = $scorer
    AND COALESCE(m.scorer_model, '') = $scorer_model
    AND m.split = $split
    GROUP BY m.explanation
)
SELECT
    s.explanation AS key,
    CASE WHEN m.place IS NULL THEN 'its judgements are gone' ELSE 'its judgements were made anew' END AS reason
FROM scored s
LEFT JOIN made m ON m.explanation = s.explanation
WHERE m.place IS NULL
OR m.place > s.place
ORDER BY key
