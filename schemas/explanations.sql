-- One explanation of one unit. Written by queries/pipeline/40_explanations.sql.
CREATE EXTERNAL TABLE explanations (
    model        VARCHAR NOT NULL COMMENT 'subject model id',
    hook_point   VARCHAR NOT NULL COMMENT 'TransformerLens name, e.g. blocks.3.mlp.hook_post',
    layer        INT     COMMENT '0-based block of the hook point; NULL outside the blocks',
    neuron       INT     NOT NULL COMMENT '0-based index along the last dimension of the hook point',
    corpus       VARCHAR NOT NULL COMMENT 'corpus the values were read on',
    explanation  VARCHAR NOT NULL COMMENT 'id: hash of the unit, corpus, explainer, its model and sample_no',
    explainer    VARCHAR NOT NULL COMMENT 'what wrote it, e.g. token_lookup',
    explainer_model VARCHAR COMMENT 'language model behind the explainer; NULL for an explainer without one',
    sample_no    INT     NOT NULL COMMENT '0-based number among the explanations one explainer wrote for the unit',
    text         VARCHAR NOT NULL COMMENT 'the explanation',
    completion   VARCHAR COMMENT 'key of the reply it was read from; NULL without a language model',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (model, hook_point) WITH ORDER (neuron ASC) LOCATION 'explanations';
