-- summary: Writes an explanation of every unit from its mean activation over tokens of the train split; no language model.
-- reads: token_activations, neurons, explanations
-- writes: explanations
-- per: hook_point
-- unit: neuron
-- params: $run, $model, $corpus, $hook_point, $first_neuron, $last_neuron, $explainer
INSERT INTO explanations
SELECT
    t.model,
    t.hook_point,
    t.layer,
    t.neuron,
    t.corpus,
    substr(encode(sha256(concat_ws('|', t.model, t.hook_point, t.neuron, t.corpus, $explainer, '', 0, 0)), 'hex'), 1, 16)
        AS explanation,
    $explainer AS explainer,
    CAST(NULL AS VARCHAR) AS explainer_model,
    CAST(0 AS INT) AS sample_no,
    CAST(0 AS INT) AS round,
    CAST(NULL AS VARCHAR) AS revised,
    explain(named_struct('deviation', sqrt(n.variance), 'tokens', t.tokens), $explainer) AS text,
    CAST(NULL AS VARCHAR) AS reason,
    CAST(NULL AS VARCHAR[]) AS completions,
    $run AS run
FROM (
    SELECT
        model,
        hook_point,
        layer,
        neuron,
        corpus,
        array_agg(
            named_struct(
                'token_id', token_id,
                'token', token,
                'mean_activation', mean_activation,
                'n_occurrences', n_occurrences
            )
        ) AS tokens
    FROM token_activations
    WHERE model = $model
    AND corpus = $corpus
    AND hook_point = $hook_point
    AND neuron BETWEEN $first_neuron AND $last_neuron
    GROUP BY model, hook_point, layer, neuron, corpus
) t
JOIN neurons n
    ON n.model = t.model
    AND n.hook_point = t.hook_point
    AND n.neuron = t.neuron
    AND n.corpus = t.corpus
LEFT ANTI JOIN (
    SELECT neuron
    FROM explanations
    WHERE model = $model
    AND hook_point = $hook_point
    AND corpus = $corpus
    AND explainer = $explainer
) done ON done.neuron = t.neuron
WHERE n.model = $model
AND n.hook_point = $hook_point
AND n.corpus = $corpus
ORDER BY t.neuron
