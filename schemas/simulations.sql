-- Expected activations of one explanation on one activation record. Written by queries/pipeline/50_simulations.sql.
CREATE EXTERNAL TABLE simulations (
    model        VARCHAR NOT NULL COMMENT 'subject model id',
    hook_point   VARCHAR NOT NULL COMMENT 'TransformerLens name, e.g. blocks.3.mlp.hook_post',
    layer        INT     COMMENT '0-based block of the hook point; NULL outside the blocks',
    neuron       INT     NOT NULL COMMENT '0-based index along the last dimension of the hook point',
    corpus       VARCHAR NOT NULL COMMENT 'corpus the values were read on',
    explanation  VARCHAR NOT NULL COMMENT 'key of explanations: the explanation under test',
    control      BOOLEAN NOT NULL COMMENT 'true when the text simulated is that of another unit of the hook point',
    source_explanation VARCHAR NOT NULL COMMENT 'key of explanations: whose text was simulated; differs from explanation in a control',
    simulator    VARCHAR NOT NULL COMMENT 'method that made the values: token_lookup | n2g | all_at_once | one_at_a_time | log_probability_free | embedding',
    simulator_model VARCHAR COMMENT 'model behind the simulator, e.g. openai:gpt-4o; NULL for a simulator without one',
    scale        VARCHAR NOT NULL COMMENT 'neuron_activations (raw units of the model) | simulated_normalized_activations (0..10)',
    sample       VARCHAR NOT NULL COMMENT 'sample of the activation record',
    rank         INT     NOT NULL COMMENT 'rank of the activation record',
    sequence     BIGINT  NOT NULL COMMENT 'key of token_sequences',
    split        VARCHAR NOT NULL COMMENT 'split of the activation record, never train',
    expected     FLOAT[] COMMENT 'expected activations in the units of scale; shape [seq_len]; NULL when the simulation failed, an element NULL where no value could be read',
    number_mass  FLOAT   COMMENT 'mean probability that the model gave to numbers where it was asked for one, 0..1; NULL without such a distribution',
    distribution FLOAT[] COMMENT 'probability of each of 0 .. 10 at each token, shape [seq_len, 11], 0 where it was not told; imports round it to 1/4096 (at most 0.00012 off) unless told not to; imported simulations only, NULL elsewhere',
    reason       VARCHAR COMMENT 'why expected is NULL; NULL otherwise',
    completions  VARCHAR[] COMMENT 'keys of completions: the replies it was read from, in the order of the tokens where there is one a token; NULL without any',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (model, hook_point) WITH ORDER (neuron ASC) LOCATION 'simulations';
