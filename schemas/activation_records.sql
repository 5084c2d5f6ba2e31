-- One unit on one token sequence chosen for it. Written by queries/pipeline/30_activation_records.sql.
CREATE EXTERNAL TABLE activation_records (
    model        VARCHAR NOT NULL COMMENT 'subject model id',
    hook_point   VARCHAR NOT NULL COMMENT 'TransformerLens name, e.g. blocks.3.mlp.hook_post',
    layer        INT     COMMENT '0-based block of the hook point; NULL outside the blocks',
    neuron       INT     NOT NULL COMMENT '0-based index along the last dimension of the hook point',
    corpus       VARCHAR NOT NULL COMMENT 'corpus the values were read on',
    sample       VARCHAR NOT NULL COMMENT 'top | random | quantile_0 .. quantile_4 (window maximum in [0,.5) [.5,.9) [.9,.99) [.99,.999) [.999,1]); of imports also what their format has: other quantiles, bottom, scored_…',
    rank         INT     NOT NULL COMMENT '0-based place in its sample and split; top is ordered by max_activation, falling; quantile samples are drawn and ranked over all splits together',
    sequence     BIGINT  NOT NULL COMMENT 'key of token_sequences',
    split        VARCHAR NOT NULL COMMENT 'train (the explainer may see it) | calibration | valid (scored) | test',
    max_activation FLOAT NOT NULL COMMENT 'largest value of activations',
    activations  FLOAT[] NOT NULL COMMENT 'raw units of the model; shape [seq_len] of its token sequence',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (model, hook_point) WITH ORDER (neuron ASC) LOCATION 'activation_records';
