-- summary: Reads the texts of a corpus.
-- reads:
-- writes: documents
-- unit: document
-- resume: document
-- params: $run, $corpus, $corpus_url, $corpus_options, $after
INSERT INTO documents
SELECT
    $corpus AS corpus,
    document,
    source,
    text,
    $run AS run
FROM read_corpus($corpus_url, $corpus_options)
WHERE document > $after
ORDER BY document
