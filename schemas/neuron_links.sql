-- One weight-based connection of a unit to another of its model. Written by src/exchange/.
CREATE EXTERNAL TABLE neuron_links (
    model        VARCHAR NOT NULL COMMENT 'subject model id',
    hook_point   VARCHAR NOT NULL COMMENT 'TransformerLens name, e.g. blocks.3.mlp.hook_post',
    layer        INT     COMMENT '0-based block of the hook point; NULL outside the blocks',
    neuron       INT     NOT NULL COMMENT '0-based index along the last dimension of the hook point',
    direction    VARCHAR NOT NULL COMMENT 'upstream: the other unit writes what this one reads | downstream: the other one reads what this one writes',
    sign         VARCHAR NOT NULL COMMENT 'positive | negative: the list it stands in',
    rank         INT     NOT NULL COMMENT '0-based place among the links of its direction and sign, strongest first',
    other_hook_point VARCHAR NOT NULL COMMENT 'hook point of the other unit',
    other_neuron INT     NOT NULL COMMENT '0-based index of the other unit along the last dimension of its hook point',
    weight       FLOAT   COMMENT 'signed connection weight; NULL when the source has none',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (model, hook_point) WITH ORDER (neuron ASC) LOCATION 'neuron_links';
