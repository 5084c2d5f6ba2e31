-- summary: How many explanations there are, and how many vectors of texts.
-- reads: explanations, explanation_vectors
SELECT max(n_texts) AS n_texts, max(n_vectors) AS n_vectors
FROM (
    SELECT count(text) AS n_texts, 0 AS n_vectors
    FROM explanations
    UNION ALL
    SELECT 0 AS n_texts, count(*) AS n_vectors
    FROM explanation_vectors
)
