-- summary: Every activation record with its tokens beside its activations.
-- reads: activation_records, token_sequences
SELECT
    r.model,
    r.hook_point,
    r.layer,
    r.neuron,
    r.corpus,
    r.sample,
    r.rank,
    r.split,
    r.sequence,
    s.document,
    r.max_activation,
    s.tokens,
    r.activations
FROM activation_records r
JOIN token_sequences s
    ON s.model = r.model
    AND s.corpus = r.corpus
    AND s.sequence = r.sequence
