-- summary: How far two scorers agree on the order of an explainer's explanations: Spearman's rank correlation, and on how many.
-- reads: explanation_scorers
SELECT
    model,
    explainer,
    explainer_model,
    scorer,
    other_scorer,
    corr(rank, other_rank) AS spearman,
    count(*) AS n_explanations
FROM (
    SELECT
        a.model,
        a.explainer,
        a.explainer_model,
        a.scorer,
        b.scorer AS other_scorer,
        -- Ties share the mean of their ranks.
        rank() OVER by_value + (count(*) OVER same_value - 1) / 2.0 AS rank,
        rank() OVER by_other_value + (count(*) OVER same_other_value - 1) / 2.0 AS other_rank
    FROM explanation_scorers a
    JOIN explanation_scorers b
        ON b.model = a.model
        AND b.hook_point = a.hook_point
        AND b.explanation = a.explanation
        AND b.split = a.split
    WHERE a.scorer < b.scorer
    AND a.value IS NOT NULL
    AND b.value IS NOT NULL
    WINDOW
        by_value AS (
            PARTITION BY a.model, a.explainer, a.explainer_model, a.scorer, b.scorer ORDER BY a.value
        ),
        same_value AS (
            PARTITION BY a.model, a.explainer, a.explainer_model, a.scorer, b.scorer, a.value
        ),
        by_other_value AS (
            PARTITION BY a.model, a.explainer, a.explainer_model, a.scorer, b.scorer ORDER BY b.value
        ),
        same_other_value AS (
            PARTITION BY a.model, a.explainer, a.explainer_model, a.scorer, b.scorer, b.value
        )
)
GROUP BY model, explainer, explainer_model, scorer, other_scorer
