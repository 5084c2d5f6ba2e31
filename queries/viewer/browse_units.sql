-- summary: Units with their best explanation, those that pass the filters, one page of them.
-- reads: neurons, explanations, best_explanations
-- params: $model = '', $hook_point = '', $layer = -1, $words = '', $low = -1000, $high = 1000, $condition = TRUE, $rising = 'nothing', $falling = 'nothing', $top = 50, $skip = 0
SELECT
    model,
    hook_point,
    layer,
    neuron,
    corpus,
    text,
    explainer,
    explainer_model,
    score,
    low,
    high,
    control,
    random_only,
    density,
    max
FROM (
    SELECT
        u.model,
        u.hook_point,
        u.layer,
        u.neuron,
        u.corpus,
        n.mean,
        n.variance,
        n.skewness,
        n.kurtosis,
        n.max,
        n.density,
        COALESCE(b.text, f.text) AS text,
        COALESCE(b.explainer, f.explainer) AS explainer,
        COALESCE(b.explainer_model, f.explainer_model) AS explainer_model,
        b.value AS score,
        b.low,
        b.high,
        b.control,
        b.random_only
    FROM (
        SELECT model, hook_point, layer, neuron, corpus
        FROM neurons
        UNION
        SELECT model, hook_point, layer, neuron, corpus
        FROM explanations
    ) u
    LEFT JOIN neurons n
        ON n.model = u.model
        AND n.hook_point = u.hook_point
        AND n.neuron = u.neuron
        AND n.corpus = u.corpus
    LEFT JOIN best_explanations b
        ON b.model = u.model
        AND b.hook_point = u.hook_point
        AND b.neuron = u.neuron
        AND b.corpus = u.corpus
    -- A unit whose explanations have no score shows the first of them.
    LEFT JOIN (
        SELECT
            model,
            hook_point,
            neuron,
            corpus,
            text,
            explainer,
            explainer_model,
            row_number() OVER (
                PARTITION BY model, hook_point, neuron, corpus ORDER BY round, sample_no, explainer, explanation
            ) AS place
        FROM explanations
        WHERE text IS NOT NULL
    ) f
        ON f.model = u.model
        AND f.hook_point = u.hook_point
        AND f.neuron = u.neuron
        AND f.corpus = u.corpus
        AND f.place = 1
)
WHERE ($model = '' OR model = $model)
AND ($hook_point = '' OR hook_point = $hook_point)
AND ($layer < 0 OR layer = $layer)
AND ($words = '' OR mentions(text, $words))
AND ($low <= -1000 OR score >= $low)
AND ($high >= 1000 OR score <= $high)
AND $condition
ORDER BY $rising, $falling DESC, model, corpus, layer, hook_point, neuron
LIMIT $top OFFSET $skip
