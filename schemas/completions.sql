-- One reply of a language model, or one reading inside a prompt. Written by src/completions/store.rs before a reply is used.
CREATE EXTERNAL TABLE completions (
    completion        VARCHAR   NOT NULL COMMENT 'key: sha256 of engine, model, request and sample_no, hex',
    engine            VARCHAR   NOT NULL COMMENT 'openai | local | replay',
    model             VARCHAR   NOT NULL COMMENT 'the language model, by the name its engine knows',
    endpoint          VARCHAR   COMMENT 'address of the endpoint without secrets; NULL for a model run in the process',
    purpose           VARCHAR   NOT NULL COMMENT 'what it was asked for first: explain | simulate | judge | revise | embed',
    sample_no         INT       NOT NULL COMMENT '0-based number among the replies to the same request',
    request           VARCHAR   NOT NULL COMMENT 'the whole request, a JSON object',
    reply             VARCHAR   NOT NULL COMMENT 'the text; for a reading a JSON array of its log-probabilities',
    finish            VARCHAR   NOT NULL COMMENT 'stop | length | other; read for a reading inside the prompt',
    prompt_tokens     INT       COMMENT 'tokens of the prompt as the engine counts them; NULL when it does not tell',
    completion_tokens INT       COMMENT 'tokens of the reply as the engine counts them; NULL when it does not tell',
    cost              DOUBLE    COMMENT 'US dollars; 0 for a model run in the process, NULL where no price is known',
    reply_tokens      VARCHAR   COMMENT 'tokens of the reply with natural log-probabilities, a JSON array; NULL without them',
    created_at        TIMESTAMP NOT NULL COMMENT 'UTC'
) STORED AS DELTATABLE WITH ORDER (created_at ASC) LOCATION 'completions';
