-- summary: Units that write what a unit reads, and units that read what it writes, strongest first, each with its best explanation.
-- reads: neuron_links, neurons, explanations, scores
-- params: $model, $hook_point, $first_neuron, $last_neuron, $top = 10, $rows = 100
WITH links AS (
    SELECT neuron, direction, sign, rank, other_hook_point, other_neuron, weight
    FROM neuron_links
    WHERE model = $model
    AND hook_point = $hook_point
    AND neuron BETWEEN $first_neuron AND $last_neuron
    AND rank < $top
),
others AS (
    SELECT DISTINCT other_hook_point AS hook_point, other_neuron AS neuron
    FROM links
),
texts AS (
    SELECT
        hook_point,
        neuron,
        text,
        score,
        row_number() OVER (
            PARTITION BY hook_point, neuron ORDER BY score DESC, round, sample_no, explanation
        ) AS place
    FROM (
        SELECT
            e.hook_point,
            e.neuron,
            e.explanation,
            e.round,
            e.sample_no,
            e.text,
            max(s.value) AS score
        FROM others o
        JOIN explanations e
            ON e.hook_point = o.hook_point
            AND e.neuron = o.neuron
        LEFT JOIN scores s
            ON s.hook_point = e.hook_point
            AND s.neuron = e.neuron
            AND s.explanation = e.explanation
            AND s.model = $model
            AND s.metric = 'ev_correlation'
            AND s.sample_set = 'top_and_random'
            AND s.split <> 'calibration'
        WHERE e.model = $model
        AND e.text IS NOT NULL
        GROUP BY e.hook_point, e.neuron, e.explanation, e.round, e.sample_no, e.text
    )
),
present AS (
    SELECT o.hook_point, o.neuron
    FROM others o
    JOIN neurons n
        ON n.hook_point = o.hook_point
        AND n.neuron = o.neuron
    WHERE n.model = $model
    UNION
    SELECT o.hook_point, o.neuron
    FROM others o
    JOIN explanations e
        ON e.hook_point = o.hook_point
        AND e.neuron = o.neuron
    WHERE e.model = $model
)
SELECT
    l.neuron,
    l.direction,
    l.sign,
    l.rank,
    l.other_hook_point,
    l.other_neuron,
    l.weight,
    t.text,
    t.score,
    p.neuron IS NOT NULL AS present
FROM links l
LEFT JOIN present p
    ON p.hook_point = l.other_hook_point
    AND p.neuron = l.other_neuron
LEFT JOIN texts t
    ON t.hook_point = l.other_hook_point
    AND t.neuron = l.other_neuron
    AND t.place = 1
ORDER BY l.neuron, l.direction DESC, l.sign DESC, l.rank
LIMIT $rows
