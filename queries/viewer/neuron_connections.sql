-- summary: Units that write what a unit reads, and units that read what it writes, strongest first, each with its best explanation.
-- reads: neuron_links, neurons, explanations, best_explanations
-- params: $model, $hook_point, $neuron, $top = 10
SELECT
    l.direction,
    l.sign,
    l.rank,
    l.other_hook_point,
    l.other_neuron,
    l.weight,
    b.text,
    b.score,
    p.neuron IS NOT NULL AS present
FROM neuron_links l
LEFT JOIN (
    SELECT hook_point, neuron
    FROM neurons
    WHERE model = $model
    UNION
    SELECT hook_point, neuron
    FROM explanations
    WHERE model = $model
) p
    ON p.hook_point = l.other_hook_point
    AND p.neuron = l.other_neuron
LEFT JOIN (
    SELECT
        e.hook_point,
        e.neuron,
        COALESCE(s.text, e.text) AS text,
        s.value AS score,
        row_number() OVER (
            PARTITION BY e.hook_point, e.neuron ORDER BY s.value DESC, e.round, e.sample_no, e.explanation
        ) AS place
    FROM explanations e
    LEFT JOIN best_explanations s
        ON s.model = e.model
        AND s.hook_point = e.hook_point
        AND s.explanation = e.explanation
    WHERE e.model = $model
    AND e.text IS NOT NULL
) b
    ON b.hook_point = l.other_hook_point
    AND b.neuron = l.other_neuron
    AND b.place = 1
WHERE l.model = $model
AND l.hook_point = $hook_point
AND l.neuron = $neuron
AND l.rank < $top
ORDER BY l.direction DESC, l.sign DESC, l.rank
LIMIT 100
