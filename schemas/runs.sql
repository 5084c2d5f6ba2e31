-- One execution of a stage: what every row's run column leads to. Written by the pipeline itself.
CREATE EXTERNAL TABLE runs (
    run            VARCHAR   NOT NULL COMMENT 'id: hash of the stage, its parameters, inputs and start',
    stage          VARCHAR   NOT NULL COMMENT 'pipeline query, e.g. 60_scores',
    model          VARCHAR   COMMENT 'subject model id; NULL where the stage has none',
    corpus         VARCHAR   COMMENT 'corpus id; NULL where the stage has none',
    parameters     VARCHAR   NOT NULL COMMENT 'every parameter of the stage, a JSON object',
    weights_hash   VARCHAR   COMMENT 'sha256 of the subject model''s weights, hex; NULL where the stage has no model',
    tokenizer_hash VARCHAR   COMMENT 'sha256 of its tokenizer, hex; NULL where the stage has no model',
    corpus_hash    VARCHAR   COMMENT 'sha256 of the documents in order, hex; NULL before the documents are written',
    prompt_hash    VARCHAR   COMMENT 'sha256 of the prompt template, hex; NULL for stages without a language model',
    code_version   VARCHAR   NOT NULL COMMENT 'neuronlake version',
    seed           BIGINT    NOT NULL COMMENT 'seed of every draw',
    started_at     TIMESTAMP NOT NULL COMMENT 'UTC',
    ended_at       TIMESTAMP COMMENT 'UTC; NULL while the run goes on, and for good when it was killed',
    n_rows         BIGINT    COMMENT 'rows written; NULL with ended_at',
    cost           DOUBLE    COMMENT 'US dollars paid to language models'
) STORED AS DELTATABLE WITH ORDER (started_at ASC) LOCATION 'runs';
