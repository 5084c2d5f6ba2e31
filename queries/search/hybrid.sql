-- summary: Both searches in one by reciprocal rank fusion (k = 60) over the first thousand of each, among explanations for which the condition holds.
-- reads: searchable_explanations, explanation_vectors
-- params: $words, $encoder = '', $condition = TRUE, $top = 20
SELECT
    COALESCE(1.0 / (60 + k.place), 0.0) + COALESCE(1.0 / (60 + s.place), 0.0) AS rrf,
    k.bm25,
    s.similarity,
    COALESCE(k.score, s.score) AS score,
    COALESCE(k.layer, s.layer) AS layer,
    COALESCE(k.neuron, s.neuron) AS neuron,
    COALESCE(k.text, s.text) AS text,
    COALESCE(k.explainer, s.explainer) AS explainer,
    COALESCE(k.hook_point, s.hook_point) AS hook_point,
    COALESCE(k.model, s.model) AS model,
    COALESCE(k.explanation, s.explanation) AS explanation
FROM (
    SELECT
        bm25,
        score,
        layer,
        neuron,
        text,
        explainer,
        hook_point,
        model,
        explanation,
        row_number() OVER (ORDER BY bm25 DESC, explanation) AS place
    FROM (
        SELECT
            bm25,
            score,
            layer,
            neuron,
            text,
            explainer,
            hook_point,
            model,
            explanation
        FROM keyword_matches($words)
        WHERE $condition
        ORDER BY bm25 DESC, explanation
        LIMIT 1000
    )
) k
FULL JOIN (
    SELECT
        similarity,
        score,
        layer,
        neuron,
        text,
        explainer,
        hook_point,
        model,
        explanation,
        row_number() OVER (ORDER BY similarity DESC, explanation) AS place
    FROM (
        SELECT
            similarity,
            score,
            layer,
            neuron,
            text,
            explainer,
            hook_point,
            model,
            explanation
        FROM semantic_matches($words, $encoder)
        WHERE $condition
        ORDER BY similarity DESC, explanation
        LIMIT 1000
    )
) s
    ON s.explanation = k.explanation
    AND s.hook_point = k.hook_point
    AND s.model = k.model
ORDER BY rrf DESC, explanation
LIMIT $top
