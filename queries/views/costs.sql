-- summary: Calls, tokens and dollars of language models by model, purpose (explain, simulate, judge, revise) and day.
-- reads: completions
SELECT
    model,
    engine,
    endpoint,
    purpose,
    CAST(date_trunc('day', created_at) AS DATE) AS day,
    count(*) AS n_calls,
    sum(prompt_tokens) AS prompt_tokens,
    sum(completion_tokens) AS completion_tokens,
    sum(cost) AS cost,
    count(*) FILTER (WHERE cost IS NULL) AS n_unpriced
FROM completions
GROUP BY model, engine, endpoint, purpose, date_trunc('day', created_at)
