-- One explanation of one unit. Written by queries/pipeline/40_explanations.sql.
CREATE EXTERNAL TABLE explanations (
    model        VARCHAR NOT NULL COMMENT 'subject model id',
    hook_point   VARCHAR NOT NULL COMMENT 'TransformerLens name, e.g. blocks.3.mlp.hook_post',
    layer        INT     COMMENT '0-based block of the hook point; NULL outside the blocks',
    neuron       INT     NOT NULL COMMENT '0-based index along the last dimension of the hook point',
    corpus       VARCHAR NOT NULL COMMENT 'corpus the values were read on',
    explanation  VARCHAR NOT NULL COMMENT 'id: hash of the unit, corpus, explainer, its model, sample_no and round',
    explainer    VARCHAR NOT NULL COMMENT 'method that wrote it: token_lookup | n2g | token_activation | summary | max_activation | logits | contrastive',
    explainer_model VARCHAR COMMENT 'language model behind the explainer, e.g. openai:gpt-4o; NULL for an explainer without one',
    sample_no    INT     NOT NULL COMMENT '0-based number among the explanations one explainer wrote for the unit',
    round        INT     NOT NULL COMMENT '0 as first written, 1 and up for revisions after counterexamples',
    revised      VARCHAR COMMENT 'key of explanations: the text that this one revises; NULL in round 0',
    text         VARCHAR COMMENT 'the explanation; NULL when none could be read from the reply, see reason',
    reason       VARCHAR COMMENT 'why text is NULL; NULL otherwise',
    completions  VARCHAR[] COMMENT 'keys of completions: the replies it took, in order; in round 0 the last holds the text, a revision adds its sentences and the simulations that decided; NULL without any',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (model, hook_point) WITH ORDER (neuron ASC) LOCATION 'explanations';
