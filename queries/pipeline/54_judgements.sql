-- summary: Has held-out windows judged by explanation, and as a control by the explanation of another unit.
-- reads: chosen_explanations, activation_records, token_sequences, judgements
-- writes: judgements
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $corpus, $hook_point, $first_neuron, $last_neuron, $explainer, $explainer_model, $scorer, $scorer_model, $scorer_source, $split, $windows, $seed
INSERT INTO judgements
WITH pairs AS (
    -- A single cycle in a seeded random order: every unit meets another unit's explanation, none its own.
    SELECT
        neuron,
        explanation,
        text,
        COALESCE(LEAD(explanation) OVER ring, FIRST_VALUE(explanation) OVER ring) AS control_explanation,
        COALESCE(LEAD(text) OVER ring, FIRST_VALUE(text) OVER ring) AS control_text
    FROM (
        SELECT
            neuron,
            explanation,
            text,
            encode(sha256(concat_ws('|', $seed, neuron)), 'hex') AS place
        FROM chosen_explanations
        WHERE model = $model
        AND hook_point = $hook_point
        AND corpus = $corpus
        AND explainer = $explainer
        AND COALESCE(explainer_model, '') = $explainer_model
    )
    WINDOW ring AS (ORDER BY place, neuron)
),
trials AS (
    -- Not by UNION ALL, which Ballista gives to workers with rows repeated.
    SELECT
        pairs.neuron,
        pairs.explanation,
        c.control,
        CASE WHEN c.control THEN pairs.control_explanation ELSE pairs.explanation END AS source_explanation,
        CASE WHEN c.control THEN pairs.control_text ELSE pairs.text END AS text
    FROM pairs
    CROSS JOIN (VALUES (false), (true)) c (control)
    WHERE NOT c.control
    -- An intruder is found without an explanation: there is nothing to exchange.
    OR (pairs.control_explanation <> pairs.explanation AND $scorer <> 'intruder')
),
records AS (
    SELECT
        r.layer,
        r.neuron,
        r.sample,
        r.rank,
        r.sequence,
        r.activations,
        s.tokens,
        r.max_activation,
        min(CASE WHEN r.sample = 'top' THEN r.max_activation END) OVER (PARTITION BY r.neuron) AS weakest_top
    FROM activation_records r
    JOIN token_sequences s ON s.sequence = r.sequence
    WHERE r.model = $model
    AND r.hook_point = $hook_point
    AND r.corpus = $corpus
    AND r.neuron BETWEEN $first_neuron AND $last_neuron
    AND r.split = $split
    AND r.sample IN ('top', 'random')
    AND r.rank < $windows
    AND s.model = $model
    AND s.corpus = $corpus
),
examples AS (
    SELECT
        layer,
        neuron,
        array_agg(
            named_struct(
                'sample', sample,
                'rank', rank,
                'sequence', sequence,
                'tokens', tokens,
                'activations', activations,
                -- A window counts as activating when it comes up to half of the weakest top window.
                'activating', max_activation > 0 AND max_activation >= 0.5 * weakest_top
            ) ORDER BY sample, rank
        ) AS windows
    FROM records
    GROUP BY layer, neuron
)
SELECT
    $model AS model,
    $hook_point AS hook_point,
    layer,
    neuron,
    $corpus AS corpus,
    explanation,
    control,
    source_explanation,
    $scorer AS scorer,
    NULLIF($scorer_model, '') AS scorer_model,
    w['sample'] AS sample,
    w['rank'] AS rank,
    w['sequence'] AS sequence,
    $split AS split,
    w['activating'] AS activating,
    j['predicted'] AS predicted,
    j['value'] AS value,
    j['reason'] AS reason,
    j['completion'] AS completion,
    $run AS run
FROM (
    SELECT
        layer,
        neuron,
        explanation,
        control,
        source_explanation,
        unnest(windows) AS w,
        unnest(judgements) AS j
    FROM (
        SELECT
            examples.layer,
            examples.neuron,
            trials.explanation,
            trials.control,
            trials.source_explanation,
            examples.windows,
            judge(trials.text, examples.windows, $scorer_source, $seed) AS judgements
        FROM examples
        JOIN trials ON trials.neuron = examples.neuron
        LEFT ANTI JOIN (
            SELECT DISTINCT explanation
            FROM judgements
            WHERE model = $model
            AND hook_point = $hook_point
            AND corpus = $corpus
            AND scorer = $scorer
            AND COALESCE(scorer_model, '') = $scorer_model
            AND split = $split
        ) done ON done.explanation = trials.explanation
    )
)
ORDER BY neuron, explanation, control, sample, rank
