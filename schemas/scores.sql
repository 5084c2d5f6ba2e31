-- One number about one explanation. Written by queries/pipeline/60_scores.sql.
CREATE EXTERNAL TABLE scores (
    model        VARCHAR NOT NULL COMMENT 'subject model id',
    hook_point   VARCHAR NOT NULL COMMENT 'TransformerLens name, e.g. blocks.3.mlp.hook_post',
    layer        INT     COMMENT '0-based block of the hook point; NULL outside the blocks',
    neuron       INT     NOT NULL COMMENT '0-based index along the last dimension of the hook point',
    corpus       VARCHAR NOT NULL COMMENT 'corpus the values were read on',
    explanation  VARCHAR NOT NULL COMMENT 'key of explanations',
    scorer       VARCHAR NOT NULL COMMENT 'the simulator or judge behind the number: token_lookup, all_at_once, detection, fuzzing, …',
    scorer_model VARCHAR COMMENT 'model behind the scorer, e.g. openai:gpt-4o; NULL for a scorer without one',
    calibration  VARCHAR NOT NULL COMMENT 'how simulated values were brought to the neuron''s units: none | linear | percentile, fitted on split calibration',
    metric       VARCHAR NOT NULL COMMENT 'of simulations: ev_correlation | explained_variance | rsquared_uncentred | absolute_dev_explained | ablation; of judgements: accuracy | balanced_accuracy | precision | recall | f1 | roc_auc | hit_rate',
    sample_set   VARCHAR NOT NULL COMMENT 'top_and_random | random_only | top_only; of imported scores of single windows top_0 .. random_4',
    split        VARCHAR NOT NULL COMMENT 'split of the windows scored; train only where an import says that its source scored on what its explainer saw',
    value        DOUBLE  COMMENT 'at most 1, larger is better; NULL when undefined, see reason',
    control      DOUBLE  COMMENT 'the same metric for another unit''s explanation; NULL when undefined or without another unit',
    low          DOUBLE  COMMENT 'lower end of the 95 % bootstrap interval over windows; NULL when undefined',
    high         DOUBLE  COMMENT 'upper end of the 95 % bootstrap interval over windows; NULL when undefined',
    reason       VARCHAR COMMENT 'why value is NULL; NULL otherwise',
    n_windows    INT     NOT NULL COMMENT 'windows scored',
    n_tokens     BIGINT  NOT NULL COMMENT 'tokens scored',
    n_failed     INT     NOT NULL COMMENT 'windows left out because their simulation or judgement failed',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (model, hook_point) WITH ORDER (neuron ASC) LOCATION 'scores';
