-- summary: Writes explanations of every unit from its records of the train split, with a language model or by patterns.
-- reads: activation_records, token_sequences, explanations
-- writes: explanations
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $model_source, $corpus, $hook_point, $first_neuron, $last_neuron, $explainer, $explainer_model, $explainer_source, $samples
INSERT INTO explanations
WITH shown AS (
    SELECT
        r.layer,
        r.neuron,
        r.sample,
        r.rank,
        r.sequence,
        r.activations,
        r.max_activation,
        s.tokens,
        max(CASE WHEN r.sample = 'top' THEN r.max_activation END) OVER (PARTITION BY r.neuron) AS top_max
    FROM activation_records r
    JOIN token_sequences s ON s.sequence = r.sequence
    WHERE r.model = $model
    AND r.hook_point = $hook_point
    AND r.corpus = $corpus
    AND r.neuron BETWEEN $first_neuron AND $last_neuron
    AND r.split = 'train'
    AND r.sample IN ('top', 'random', 'quantile_0')
    -- Near misses are looked for among all windows that do not fire.
    AND (r.rank < 5 OR (r.sample <> 'top' AND $explainer = 'contrastive'))
    AND s.model = $model
    AND s.corpus = $corpus
),
strong AS (
    -- What the unit fires on in its top windows.
    SELECT neuron, array_agg(DISTINCT token) AS tokens
    FROM (
        SELECT neuron, top_max, unnest(tokens) AS token, unnest(activations) AS activation
        FROM shown
        WHERE sample = 'top'
    )
    WHERE activation > 0
    AND activation >= 0.5 * top_max
    GROUP BY neuron
),
others AS (
    SELECT
        shown.neuron,
        shown.sample,
        shown.rank,
        shown.tokens,
        shown.activations,
        CASE
            WHEN $explainer = 'contrastive' THEN COALESCE(array_length(array_intersect(shown.tokens, strong.tokens)), 0)
            ELSE 0
        END AS n_shared,
        row_number() OVER (PARTITION BY shown.neuron, shown.sequence ORDER BY shown.sample, shown.rank) AS nth
    FROM shown
    LEFT JOIN strong ON strong.neuron = shown.neuron
    WHERE shown.sample <> 'top'
    -- A model that is told that the unit stays silent must not be told so of a window in which it fires; a pattern is learned from
    -- the activations as they are.
    AND ($explainer <> 'contrastive' OR shown.max_activation <= 0.1 * shown.top_max)
),
quiet AS (
    -- Hard ones first: windows with most of the tokens that the unit fires on elsewhere.
    SELECT
        neuron,
        array_agg(
            named_struct('tokens', tokens, 'activations', activations) ORDER BY n_shared DESC, sample, rank
        ) AS quiet
    FROM (
        SELECT
            neuron,
            sample,
            rank,
            tokens,
            activations,
            n_shared,
            row_number() OVER (PARTITION BY neuron ORDER BY n_shared DESC, sample, rank) AS place
        FROM others
        WHERE nth = 1
        OR $explainer <> 'contrastive'
    )
    WHERE place <= CASE WHEN $explainer = 'contrastive' THEN 5 ELSE 10 END
    GROUP BY neuron
),
records AS (
    SELECT loud.layer, loud.neuron, loud.records, quiet.quiet
    FROM (
        SELECT
            layer,
            neuron,
            array_agg(named_struct('tokens', tokens, 'activations', activations) ORDER BY rank)
                FILTER (WHERE sample = 'top') AS records
        FROM shown
        GROUP BY layer, neuron
    ) loud
    LEFT JOIN quiet ON quiet.neuron = loud.neuron
),
wanted AS (
    SELECT
        records.layer,
        records.neuron,
        records.records,
        records.quiet,
        CAST(n.value AS INT) AS sample_no
    FROM records
    CROSS JOIN generate_series(0, $samples - 1) n
    LEFT ANTI JOIN (
        SELECT neuron, sample_no
        FROM explanations
        WHERE model = $model
        AND hook_point = $hook_point
        AND corpus = $corpus
        AND explainer = $explainer
        AND COALESCE(explainer_model, '') = $explainer_model
        AND round = 0
    ) done ON done.neuron = records.neuron AND done.sample_no = n.value
)
SELECT
    $model AS model,
    $hook_point AS hook_point,
    layer,
    neuron,
    $corpus AS corpus,
    substr(
        encode(
            sha256(concat_ws('|', $model, $hook_point, neuron, $corpus, $explainer, $explainer_model, sample_no, 0)),
            'hex'
        ),
        1,
        16
    ) AS explanation,
    $explainer AS explainer,
    NULLIF($explainer_model, '') AS explainer_model,
    sample_no,
    CAST(0 AS INT) AS round,
    CAST(NULL AS VARCHAR) AS revised,
    written['text'] AS text,
    written['reason'] AS reason,
    written['completions'] AS completions,
    $run AS run
FROM (
    SELECT
        layer,
        neuron,
        sample_no,
        explanation(
            named_struct(
                'records', records,
                'quiet', quiet,
                'promoted', CASE WHEN $explainer = 'logits' THEN promoted_tokens($model_source, $hook_point, neuron) END
            ),
            $explainer_source,
            sample_no
        ) AS written
    FROM wanted
)
ORDER BY neuron, sample_no
