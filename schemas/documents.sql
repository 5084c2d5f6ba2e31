-- One text of a corpus. Written by queries/pipeline/00_documents.sql.
CREATE EXTERNAL TABLE documents (
    corpus       VARCHAR NOT NULL COMMENT 'corpus id: the URL or pattern it was read from, or default',
    document     BIGINT  NOT NULL COMMENT '0-based number in reading order',
    source       VARCHAR NOT NULL COMMENT 'file or title the text came from',
    text         VARCHAR NOT NULL COMMENT 'the whole text, UTF-8',
    run          VARCHAR NOT NULL COMMENT 'the run that wrote the row, a key of runs'
) STORED AS DELTATABLE PARTITIONED BY (corpus) WITH ORDER (document ASC) LOCATION 'documents';
