-- summary: The versions of the score table, and the runs that wrote them.
-- reads: runs
-- params:
SELECT
    v.version,
    v.committed_at,
    v.operation,
    v.n_rows_added,
    v.readable,
    v.run,
    r.stage,
    r.model,
    r.parameters,
    r.code_version
FROM table_versions('scores') v
LEFT JOIN runs r ON r.run = v.run
ORDER BY v.version DESC
