-- summary: How the latents of a small autoencoder split in a larger one: the larger one's latents whose decoder rows are most like each.
-- reads:
-- params: $small = 'example_sae', $large = 'example_sae', $similarity = 0.7, $limit = 20
SELECT
    s.other_neuron AS parent,
    count(*) AS n_children,
    round(avg(s.similarity), 3) AS mean_similarity,
    array_agg(s.neuron ORDER BY s.similarity DESC, s.neuron) AS children
FROM similar_latents($large, $small) s
WHERE s.similarity >= $similarity
GROUP BY s.other_neuron
ORDER BY n_children DESC, parent
LIMIT $limit
