-- One window of tokens inside one document. Written by queries/pipeline/10_token_sequences.sql.
CREATE EXTERNAL TABLE token_sequences (
    model        VARCHAR NOT NULL COMMENT 'subject model id, whose tokenizer made the tokens',
    corpus       VARCHAR NOT NULL COMMENT 'corpus of the document',
    sequence     BIGINT  NOT NULL COMMENT 'document * 1048576 + number of the window in its document; of an imported window 63 bits of a hash of its tokens',
    document     BIGINT  NOT NULL COMMENT 'key of documents; of an imported window sequence / 1048576, without a row there',
    token_offset INT     NOT NULL COMMENT 'first token of the window, counted in tokens from the start of the document',
    split        VARCHAR NOT NULL COMMENT 'train | calibration | valid | test by hash of the document; pool when records are split by the interleaving of the paper, as imported ones are',
    token_ids    INT[]   COMMENT 'shape [seq_len]; NULL for imported windows whose source tells none',
    tokens       VARCHAR[] NOT NULL COMMENT 'surface text of each token, shape [seq_len]; U+FFFD where a token is a fragment of a character',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (model, corpus) WITH ORDER (sequence ASC) LOCATION 'token_sequences';
