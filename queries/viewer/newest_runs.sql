-- summary: The newest runs of stages.
-- reads: runs
SELECT run, stage, model, corpus, seed, code_version, started_at
FROM runs
ORDER BY started_at DESC, run
LIMIT 10
