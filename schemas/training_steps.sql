-- What was measured at one step of the training of a sparse autoencoder. Written by 'neuronlake sae train'.
CREATE EXTERNAL TABLE training_steps (
    autoencoder       VARCHAR   NOT NULL COMMENT 'id, a key of sparse_autoencoders once the training is over',
    step              BIGINT    NOT NULL COMMENT 'steps done, from 1',
    n_tokens          BIGINT    NOT NULL COMMENT 'rows read so far, repeated ones counted again',
    nmse              DOUBLE    COMMENT 'squared error of the step''s rows over their variance about their mean; NULL when they are all equal',
    l0                DOUBLE    NOT NULL COMMENT 'latents that fired a row, on average',
    dead_share        DOUBLE    NOT NULL COMMENT 'share of latents that have not fired for as many rows as make one dead, 0..1',
    loss              DOUBLE    NOT NULL COMMENT 'what the optimiser minimises, auxiliary parts included',
    tokens_per_second DOUBLE    COMMENT 'rows a second since the last measured step; NULL at the first',
    measured_at       TIMESTAMP NOT NULL COMMENT 'UTC',
    run               VARCHAR   NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (autoencoder) WITH ORDER (step ASC) LOCATION 'training_steps';
