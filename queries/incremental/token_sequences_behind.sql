-- summary: Token sequences of documents that were written anew, or are gone, since they were cut.
-- reads: documents, token_sequences
-- params: $model, $corpus
SELECT
    CAST(s.document AS VARCHAR) AS key,
    'its document was written anew' AS reason
FROM (
    SELECT s.document, min(o.place) AS place
    FROM token_sequences s
    JOIN incremental.run_order o ON o.run = s.run
    WHERE s.model = $model
    AND s.corpus = $corpus
    AND o.own
    GROUP BY s.document
) s
LEFT JOIN (
    SELECT d.document, o.place
    FROM documents d
    JOIN incremental.run_order o ON o.run = d.run
    WHERE d.corpus = $corpus
) d ON d.document = s.document
WHERE d.place IS NULL OR d.place > s.place
ORDER BY s.document
