-- summary: Rows of every table of the lake, in the order in which data flows.
-- reads: documents, token_sequences, neurons, activation_records, token_activations, activations, explanations, explanation_vectors, simulations, judgements, scores, neuron_links, token_effects, completions, runs
SELECT table_name, n_rows
FROM (
    SELECT 0 AS place, 'documents' AS table_name, count(*) AS n_rows
    FROM documents
    UNION ALL
    SELECT 1 AS place, 'token_sequences' AS table_name, count(*) AS n_rows
    FROM token_sequences
    UNION ALL
    SELECT 2 AS place, 'neurons' AS table_name, count(*) AS n_rows
    FROM neurons
    UNION ALL
    SELECT 3 AS place, 'activation_records' AS table_name, count(*) AS n_rows
    FROM activation_records
    UNION ALL
    SELECT 4 AS place, 'token_activations' AS table_name, count(*) AS n_rows
    FROM token_activations
    UNION ALL
    SELECT 5 AS place, 'activations' AS table_name, count(*) AS n_rows
    FROM activations
    UNION ALL
    SELECT 6 AS place, 'explanations' AS table_name, count(*) AS n_rows
    FROM explanations
    UNION ALL
    SELECT 7 AS place, 'explanation_vectors' AS table_name, count(*) AS n_rows
    FROM explanation_vectors
    UNION ALL
    SELECT 8 AS place, 'simulations' AS table_name, count(*) AS n_rows
    FROM simulations
    UNION ALL
    SELECT 9 AS place, 'judgements' AS table_name, count(*) AS n_rows
    FROM judgements
    UNION ALL
    SELECT 10 AS place, 'scores' AS table_name, count(*) AS n_rows
    FROM scores
    UNION ALL
    SELECT 11 AS place, 'neuron_links' AS table_name, count(*) AS n_rows
    FROM neuron_links
    UNION ALL
    SELECT 12 AS place, 'token_effects' AS table_name, count(*) AS n_rows
    FROM token_effects
    UNION ALL
    SELECT 13 AS place, 'completions' AS table_name, count(*) AS n_rows
    FROM completions
    UNION ALL
    SELECT 14 AS place, 'runs' AS table_name, count(*) AS n_rows
    FROM runs
)
ORDER BY place
