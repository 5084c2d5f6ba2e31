-- summary: Pairs of units of one hook point that fire on the same token, and how often: from table activations, sparse.
-- reads: activations
SELECT
    a.model,
    a.hook_point,
    a.corpus,
    a.neuron,
    b.neuron AS other_neuron,
    count(*) AS n_both
FROM activations a
JOIN activations b ON b.model = a.model
    AND b.hook_point = a.hook_point
    AND b.corpus = a.corpus
    AND b.sequence = a.sequence
    AND b.position = a.position
    AND b.neuron <> a.neuron
GROUP BY a.model, a.hook_point, a.corpus, a.neuron, b.neuron
