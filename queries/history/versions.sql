-- summary: The versions of a table, newest first, with the runs that wrote them and what was other than in the run before of that stage.
-- reads: runs
-- params: $table, $top = 50
SELECT
    version,
    committed_at,
    operation,
    n_rows_added,
    readable,
    stage,
    run,
    NULLIF(
        concat_ws(
            '; ',
            parameter_changes(last_parameters, parameters),
            CASE WHEN last_code_version <> code_version THEN concat('code_version: ', last_code_version, ' -> ', code_version) END,
            CASE WHEN last_prompt_hash <> prompt_hash THEN 'another prompt' END,
            CASE WHEN last_weights_hash <> weights_hash THEN 'other weights' END,
            CASE WHEN last_corpus_hash <> corpus_hash THEN 'other documents' END
        ),
        ''
    ) AS changed
FROM (
    SELECT
        v.version,
        v.committed_at,
        v.operation,
        v.n_rows_added,
        v.readable,
        r.stage,
        v.run,
        r.parameters,
        r.code_version,
        r.prompt_hash,
        r.weights_hash,
        r.corpus_hash,
        LAG(r.parameters) OVER same_stage AS last_parameters,
        LAG(r.code_version) OVER same_stage AS last_code_version,
        LAG(r.prompt_hash) OVER same_stage AS last_prompt_hash,
        LAG(r.weights_hash) OVER same_stage AS last_weights_hash,
        LAG(r.corpus_hash) OVER same_stage AS last_corpus_hash
    FROM table_versions($table) v
    LEFT JOIN runs r ON r.run = v.run
    WINDOW same_stage AS (PARTITION BY r.stage, r.model, r.corpus ORDER BY v.version)
)
ORDER BY version DESC
LIMIT $top
