-- What a judge made of one activation record, given an explanation. Written by queries/pipeline/54_judgements.sql.
CREATE EXTERNAL TABLE judgements (
    model        VARCHAR NOT NULL COMMENT 'subject model id',
    hook_point   VARCHAR NOT NULL COMMENT 'TransformerLens name, e.g. blocks.3.mlp.hook_post',
    layer        INT     COMMENT '0-based block of the hook point; NULL outside the blocks',
    neuron       INT     NOT NULL COMMENT '0-based index along the last dimension of the hook point',
    corpus       VARCHAR NOT NULL COMMENT 'corpus the values were read on',
    explanation  VARCHAR NOT NULL COMMENT 'key of explanations: the explanation under test',
    control      BOOLEAN NOT NULL COMMENT 'true when the text judged is that of another unit of the hook point',
    source_explanation VARCHAR NOT NULL COMMENT 'key of explanations: whose text was judged; differs from explanation in a control',
    scorer       VARCHAR NOT NULL COMMENT 'detection | fuzzing | intruder | embedding | surprisal',
    scorer_model VARCHAR COMMENT 'model behind the judge, e.g. openai:gpt-4o; NULL for a judge without one',
    sample       VARCHAR NOT NULL COMMENT 'sample of the activation record',
    rank         INT     NOT NULL COMMENT 'rank of the activation record',
    sequence     BIGINT  NOT NULL COMMENT 'key of token_sequences',
    split        VARCHAR NOT NULL COMMENT 'split of the activation record, never train',
    activating   BOOLEAN NOT NULL COMMENT 'the truth: whether the unit fires on the window',
    predicted    BOOLEAN COMMENT 'what the judge said; NULL when it failed or gives values only',
    value        DOUBLE  COMMENT 'larger for rather activating: a probability, a cosine, or nats saved per token; NULL when there is none',
    reason       VARCHAR COMMENT 'why there is no judgement; NULL otherwise',
    completion   VARCHAR COMMENT 'key of completions: the reply it was read from; NULL without one',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (model, hook_point) WITH ORDER (neuron ASC) LOCATION 'judgements';
