-- summary: What every language model was asked for, and what it cost.
-- reads: costs
SELECT
    model,
    engine,
    purpose,
    sum(n_calls) AS n_calls,
    sum(prompt_tokens) AS prompt_tokens,
    sum(completion_tokens) AS completion_tokens,
    sum(cost) AS cost,
    sum(n_unpriced) AS n_unpriced
FROM costs
GROUP BY model, engine, purpose
ORDER BY cost DESC, model, engine, purpose
LIMIT 100
