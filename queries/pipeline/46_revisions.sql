-- summary: Revises explanations by what their units do on sentences written for them; a round a row, the best stands by its score on calibration.
-- reads: chosen_explanations, activation_records, token_sequences, explanations
-- writes: explanations
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $model_source, $corpus, $hook_point, $first_neuron, $last_neuron, $explainer, $explainer_model, $explainer_source, $simulator_source, $windows, $round
INSERT INTO explanations
WITH drafts AS (
    SELECT layer, neuron, explanation, sample_no, text
    FROM chosen_explanations
    WHERE model = $model
    AND hook_point = $hook_point
    AND corpus = $corpus
    AND explainer = $explainer
    AND COALESCE(explainer_model, '') = $explainer_model
    AND neuron BETWEEN $first_neuron AND $last_neuron
),
records AS (
    SELECT
        r.neuron,
        array_agg(named_struct('tokens', s.tokens, 'activations', r.activations) ORDER BY r.rank)
            FILTER (WHERE r.split = 'train' AND r.sample = 'top' AND r.rank < 5) AS shown,
        array_agg(named_struct('tokens', s.tokens, 'activations', r.activations) ORDER BY r.sample, r.rank)
            FILTER (WHERE r.split = 'calibration' AND r.rank < $windows) AS windows
    FROM activation_records r
    JOIN token_sequences s ON s.sequence = r.sequence
    WHERE r.model = $model
    AND r.hook_point = $hook_point
    AND r.corpus = $corpus
    AND r.neuron BETWEEN $first_neuron AND $last_neuron
    AND r.split IN ('train', 'calibration')
    AND r.sample IN ('top', 'random')
    AND s.model = $model
    AND s.corpus = $corpus
    GROUP BY r.neuron
)
SELECT
    $model AS model,
    $hook_point AS hook_point,
    layer,
    neuron,
    $corpus AS corpus,
    substr(
        encode(
            sha256(concat_ws('|', $model, $hook_point, neuron, $corpus, $explainer, $explainer_model, sample_no, $round)),
            'hex'
        ),
        1,
        16
    ) AS explanation,
    $explainer AS explainer,
    NULLIF($explainer_model, '') AS explainer_model,
    sample_no,
    CAST($round AS INT) AS round,
    draft AS revised,
    revised['text'] AS text,
    revised['reason'] AS reason,
    revised['completions'] AS completions,
    $run AS run
FROM (
    SELECT
        drafts.layer,
        drafts.neuron,
        drafts.explanation AS draft,
        drafts.sample_no,
        revision(
            drafts.text,
            records.shown,
            records.windows,
            $explainer_source,
            $simulator_source,
            $model_source,
            $hook_point,
            drafts.neuron,
            $round
        ) AS revised
    FROM drafts
    JOIN records ON records.neuron = drafts.neuron
    LEFT ANTI JOIN (
        SELECT neuron
        FROM explanations
        WHERE model = $model
        AND hook_point = $hook_point
        AND corpus = $corpus
        AND explainer = $explainer
        AND COALESCE(explainer_model, '') = $explainer_model
        AND round = $round
    ) done ON done.neuron = drafts.neuron
)
ORDER BY neuron
