-- One latent of one crosscoder at one of the sites it reads and writes. Written by 'neuronlake sae import-crosscoder'.
CREATE EXTERNAL TABLE crosscoder_latents (
    crosscoder     VARCHAR NOT NULL COMMENT 'id, unique in the lake among crosscoders and autoencoders',
    neuron         INT     NOT NULL COMMENT '0-based latent',
    site           INT     NOT NULL COMMENT '0-based place in the order of its weights',
    model          VARCHAR NOT NULL COMMENT 'model of the site, as it was named when imported',
    hook_point     VARCHAR NOT NULL COMMENT 'hook point of the site, by its TransformerLens name',
    decoder_norm   DOUBLE  NOT NULL COMMENT 'Euclidean norm of what the latent writes to the site',
    encoder_norm   DOUBLE  NOT NULL COMMENT 'Euclidean norm of what it reads there',
    decoder_cosine DOUBLE  COMMENT 'cosine of what it writes to site 0 and to this one, -1..1; NULL where one of them is 0',
    run            VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE WITH ORDER (crosscoder ASC, neuron ASC) LOCATION 'crosscoder_latents';
