-- Direct effect, by weights alone, between one unit and one token. Written by src/exchange/.
CREATE EXTERNAL TABLE token_effects (
    model        VARCHAR NOT NULL COMMENT 'subject model id',
    hook_point   VARCHAR NOT NULL COMMENT 'TransformerLens name, e.g. blocks.3.mlp.hook_post',
    layer        INT     COMMENT '0-based block of the hook point; NULL outside the blocks',
    neuron       INT     NOT NULL COMMENT '0-based index along the last dimension of the hook point',
    direction    VARCHAR NOT NULL COMMENT 'input: of the token on the unit | output: of the unit on the token',
    sign         VARCHAR NOT NULL COMMENT 'positive | negative: the list it stands in',
    rank         INT     NOT NULL COMMENT '0-based place among the effects of its direction and sign, strongest first',
    token_id     INT     COMMENT 'vocabulary index; NULL where an import has none',
    token        VARCHAR NOT NULL COMMENT 'surface text of the token',
    strength     FLOAT   COMMENT 'signed effect; NULL when the source has none',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (model, hook_point) WITH ORDER (neuron ASC) LOCATION 'token_effects';
