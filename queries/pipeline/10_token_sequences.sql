-- summary: Cuts every document into windows of tokens and gives each its split.
-- reads: documents
-- writes: token_sequences
-- unit: document
-- resume: document
-- params: $run, $model, $model_source, $corpus, $window_length, $window_minimum, $split_strategy, $seed, $after, $until
INSERT INTO token_sequences
SELECT
    $model AS model,
    corpus,
    document * 1048576 + w['number'] AS sequence,
    document,
    w['token_offset'] AS token_offset,
    split,
    w['token_ids'] AS token_ids,
    w['tokens'] AS tokens,
    $run AS run
FROM (
    SELECT
        corpus,
        document,
        document_split(text, $split_strategy, $seed) AS split,
        unnest(token_windows(text, $model_source, $window_length, $window_minimum)) AS w
    FROM documents
    WHERE corpus = $corpus
    AND document > $after
    AND document <= $until
)
ORDER BY sequence
