-- One firing of one unit. Written by queries/pipeline/34_activations.sql.
CREATE EXTERNAL TABLE activations (
    model        VARCHAR NOT NULL COMMENT 'subject model id',
    hook_point   VARCHAR NOT NULL COMMENT 'TransformerLens name, e.g. blocks.3.mlp.hook_post',
    layer        INT     COMMENT '0-based block of the hook point; NULL outside the blocks',
    neuron       INT     NOT NULL COMMENT '0-based index along the last dimension of the hook point',
    corpus       VARCHAR NOT NULL COMMENT 'corpus the values were read on',
    sequence     BIGINT  NOT NULL COMMENT 'key of token_sequences',
    position     INT     NOT NULL COMMENT '0-based token of the sequence',
    activation   FLOAT   NOT NULL COMMENT 'raw units of the model',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (model, hook_point) WITH ORDER (neuron ASC, sequence ASC) LOCATION 'activations';
