-- Statistics of one unit over a corpus. Written by queries/pipeline/20_neurons.sql.
CREATE EXTERNAL TABLE neurons (
    model        VARCHAR NOT NULL COMMENT 'subject model id',
    hook_point   VARCHAR NOT NULL COMMENT 'TransformerLens name, e.g. blocks.3.mlp.hook_post',
    layer        INT     COMMENT '0-based block of the hook point; NULL outside the blocks',
    neuron       INT     NOT NULL COMMENT '0-based index along the last dimension of the hook point',
    corpus       VARCHAR NOT NULL COMMENT 'corpus the values were read on',
    n_tokens     BIGINT  COMMENT 'positions counted; NULL when imported from a source that does not tell',
    mean         DOUBLE  COMMENT 'raw units of the model; NULL when no position was counted or an import has none',
    variance     DOUBLE  COMMENT 'population variance, raw units squared',
    skewness     DOUBLE  COMMENT 'third standardised moment; NULL for a constant unit',
    kurtosis     DOUBLE  COMMENT 'fourth standardised moment, not excess (3 for a normal); NULL for a constant unit',
    min          FLOAT   COMMENT 'smallest activation',
    max          FLOAT   COMMENT 'largest activation',
    density      DOUBLE  COMMENT 'share of positions with an activation above 0, 0..1',
    quantile_levels DOUBLE[] NOT NULL COMMENT 'levels of quantiles, 0..1',
    quantiles    DOUBLE[] COMMENT 'activation at each level, relative error at most 1/32',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (model, hook_point) WITH ORDER (neuron ASC) LOCATION 'neurons';
