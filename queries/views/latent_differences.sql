-- summary: Every latent of every crosscoder at its first model and at each other one: relative decoder norm, and the class by it: only_model, shared, only_other, between.
-- reads: crosscoder_latents
SELECT
    a.crosscoder,
    a.neuron,
    a.model,
    b.model AS other_model,
    a.hook_point,
    b.hook_point AS other_hook_point,
    a.decoder_norm,
    b.decoder_norm AS other_decoder_norm,
    b.decoder_norm / NULLIF(a.decoder_norm + b.decoder_norm, 0) AS relative_norm,
    b.decoder_cosine AS cosine,
    CASE
        WHEN b.decoder_norm / NULLIF(a.decoder_norm + b.decoder_norm, 0) < 0.1 THEN 'only_model'
        WHEN b.decoder_norm / NULLIF(a.decoder_norm + b.decoder_norm, 0) > 0.9 THEN 'only_other'
        WHEN b.decoder_norm / NULLIF(a.decoder_norm + b.decoder_norm, 0) BETWEEN 0.4 AND 0.6 THEN 'shared'
        WHEN a.decoder_norm + b.decoder_norm > 0 THEN 'between'
    END AS class
FROM crosscoder_latents a
JOIN crosscoder_latents b ON b.crosscoder = a.crosscoder
    AND b.neuron = a.neuron
    AND b.site > a.site
WHERE a.site = 0
