-- summary: Statistics and best explanations of two units, side by side.
-- reads: neurons, best_explanations
-- params: $model, $a_hook_point, $a_neuron, $b_hook_point, $b_neuron
SELECT
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
    b.explanation,
    b.text,
    b.value
FROM neurons n
LEFT JOIN best_explanations b
    ON b.model = n.model
    AND b.hook_point = n.hook_point
    AND b.neuron = n.neuron
    AND b.corpus = n.corpus
WHERE n.model = $model
AND (
    (n.hook_point = $a_hook_point AND n.neuron = $a_neuron)
    OR (n.hook_point = $b_hook_point AND n.neuron = $b_neuron)
)
ORDER BY n.corpus, n.layer, n.hook_point, n.neuron
