-- summary: Calls, tokens and dollars of every unit that a reply was bought for; a reply that several units share counts in part for each.
-- reads: explanations, simulations, judgements, completions
SELECT
    u.model AS subject,
    u.hook_point,
    u.neuron,
    c.model,
    sum(u.share) AS n_calls,
    sum(c.prompt_tokens * u.share) AS prompt_tokens,
    sum(c.completion_tokens * u.share) AS completion_tokens,
    sum(c.cost * u.share) AS cost
FROM (
    SELECT
        model,
        hook_point,
        neuron,
        completion,
        1.0 / count(*) OVER (PARTITION BY completion) AS share
    FROM (
        SELECT DISTINCT model, hook_point, neuron, completion
        FROM (
            SELECT model, hook_point, neuron, unnest(completions) AS completion
            FROM explanations
        )
        UNION
        SELECT DISTINCT model, hook_point, neuron, completion
        FROM (
            SELECT model, hook_point, neuron, unnest(completions) AS completion
            FROM simulations
        )
        UNION
        SELECT model, hook_point, neuron, completion
        FROM judgements
        WHERE completion IS NOT NULL
    )
) u
JOIN completions c ON c.completion = u.completion
GROUP BY u.model, u.hook_point, u.neuron, c.model
