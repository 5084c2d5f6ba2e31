-- summary: Units whose explanation mentions a word or phrase, best score first.
-- reads: best_explanations
-- params: $words = 'king', $limit = 20
SELECT
    layer,
    neuron,
    round(value, 2) AS value,
    text
FROM best_explanations
WHERE mentions(text, $words)
ORDER BY value DESC, layer, neuron
LIMIT $limit
