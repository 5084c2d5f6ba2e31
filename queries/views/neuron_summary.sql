-- summary: One row per unit: statistics, best explanation and its score (NULL when it has none).
-- reads: neurons, best_explanations
SELECT
    n.model,
    n.hook_point,
    n.layer,
    n.neuron,
    n.corpus,
    n.n_tokens,
    n.mean,
    n.variance,
    n.skewness,
    n.kurtosis,
    n.min,
    n.max,
    n.density,
    b.text,
    b.value,
    b.control,
    b.low,
    b.high
FROM neurons n
LEFT JOIN best_explanations b
    ON b.model = n.model
    AND b.hook_point = n.hook_point
    AND b.neuron = n.neuron
    AND b.corpus = n.corpus
