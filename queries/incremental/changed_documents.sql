-- summary: Stored documents that the corpus holds no longer, or with another text.
-- reads: documents
-- params: $corpus, $corpus_url, $corpus_options
SELECT
    CAST(d.document AS VARCHAR) AS key,
    'the corpus holds another text' AS reason
FROM documents d
LEFT JOIN read_corpus($corpus_url, $corpus_options) c ON c.document = d.document
WHERE d.corpus = $corpus
AND (c.text IS NULL OR c.text <> d.text)
ORDER BY d.document
