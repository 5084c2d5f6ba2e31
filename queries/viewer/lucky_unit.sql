-- summary: Any unit: one with a score where there is one, else one with an explanation, else any at all.
-- reads: neurons, explanations, best_explanations
SELECT model, hook_point, neuron, corpus
FROM (
    SELECT model, hook_point, neuron, corpus, 0 AS place
    FROM best_explanations
    UNION ALL
    SELECT model, hook_point, neuron, corpus, 1 AS place
    FROM explanations
    WHERE text IS NOT NULL
    UNION ALL
    SELECT model, hook_point, neuron, corpus, 2 AS place
    FROM neurons
)
ORDER BY place, random()
LIMIT 1
