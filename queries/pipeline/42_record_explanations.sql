-- summary: Writes explanations of every unit from its records of the train split, with a language model or by patterns.
-- reads: activation_records, token_sequences, explanations
-- writes: explanations
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $model_source, $corpus, $hook_point, $first_neuron, $last_neuron, $explainer, $explainer_model, $explainer_source, $samples
INSERT INTO explanations
WITH records AS (
    SELECT
        r.layer,
        r.neuron,
        array_agg(named_struct('tokens', s.tokens, 'activations', r.activations) ORDER BY r.rank)
            FILTER (WHERE r.sample = 'top') AS records,
        array_agg(named_struct('tokens', s.tokens, 'activations', r.activations) ORDER BY r.sample, r.rank)
            FILTER (WHERE r.sample IN ('random', 'quantile_0')) AS quiet
    FROM activation_records r
    JOIN token_sequences s ON s.sequence = r.sequence
    WHERE r.model = $model
    AND r.hook_point = $hook_point
    AND r.corpus = $corpus
    AND r.neuron BETWEEN $first_neuron AND $last_neuron
    AND r.split = 'train'
    AND r.sample IN ('top', 'random', 'quantile_0')
    AND r.rank < 5
    AND s.model = $model
    AND s.corpus = $corpus
    GROUP BY r.layer, r.neuron
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
    written['completion'] AS completion,
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
