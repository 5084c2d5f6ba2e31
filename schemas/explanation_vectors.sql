-- The vector of one explanation's text by one sentence encoder. Written by 'neuronlake index' and by searches by meaning.
CREATE EXTERNAL TABLE explanation_vectors (
    encoder      VARCHAR NOT NULL COMMENT 'the encoder: a model''s name, or openai:NAME for an endpoint''s',
    explanation  VARCHAR NOT NULL COMMENT 'key of explanations',
    text_hash    VARCHAR NOT NULL COMMENT 'first 16 hexadecimal digits of the SHA-256 of the text: a text that changed needs another vector',
    vector       FLOAT[] NOT NULL COMMENT 'the vector, of length 1',
    run          VARCHAR NOT NULL COMMENT 'id of the indexing that wrote the row'
) STORED AS DELTATABLE PARTITIONED BY (encoder) WITH ORDER (explanation ASC) LOCATION 'explanation_vectors';
