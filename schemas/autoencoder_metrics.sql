-- One number about one sparse autoencoder. Written by 'neuronlake sae evaluate'.
CREATE EXTERNAL TABLE autoencoder_metrics (
    autoencoder  VARCHAR NOT NULL COMMENT 'key of sparse_autoencoders',
    model        VARCHAR NOT NULL COMMENT 'subject model id',
    hook_point   VARCHAR NOT NULL COMMENT 'hook point of its latents',
    corpus       VARCHAR NOT NULL COMMENT 'corpus it was measured on',
    split        VARCHAR NOT NULL COMMENT 'split of the token sequences',
    metric       VARCHAR NOT NULL COMMENT 'name of the number, docs/sparse-autoencoders.md defines each',
    value        DOUBLE  COMMENT 'the number; NULL when undefined, see reason',
    reason       VARCHAR COMMENT 'why value is NULL; NULL otherwise',
    n_tokens     BIGINT  NOT NULL COMMENT 'tokens it was measured on',
    first_token  VARCHAR NOT NULL COMMENT 'whether the first token of a window counted: keep or mask',
    norm_limit   DOUBLE  COMMENT 'norm above which tokens were left out; NULL when none were',
    parameters   VARCHAR NOT NULL COMMENT 'how it was measured, a JSON object',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE WITH ORDER (autoencoder ASC, metric ASC) LOCATION 'autoencoder_metrics';
