-- Mean activation of one unit over one token of the train split. Written by queries/pipeline/32_token_activations.sql.
CREATE EXTERNAL TABLE token_activations (
    model        VARCHAR NOT NULL COMMENT 'subject model id',
    hook_point   VARCHAR NOT NULL COMMENT 'TransformerLens name, e.g. blocks.3.mlp.hook_post',
    layer        INT     COMMENT '0-based block of the hook point; NULL outside the blocks',
    neuron       INT     NOT NULL COMMENT '0-based index along the last dimension of the hook point',
    corpus       VARCHAR NOT NULL COMMENT 'corpus the values were read on',
    token_id     INT     COMMENT 'vocabulary index; NULL in the row that stands for every token not listed, and where an import has none',
    token        VARCHAR COMMENT 'surface text of the token; NULL in the row that stands for every token not listed',
    mean_activation FLOAT COMMENT 'raw units of the model; NULL when imported without a value',
    n_occurrences BIGINT COMMENT 'positions of the train split the mean is over; NULL when imported from a source that does not tell',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (model, hook_point) WITH ORDER (neuron ASC) LOCATION 'token_activations';
