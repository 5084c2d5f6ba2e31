-- summary: Do sparse units get better explanations? Mean score by tenth of density, and the correlation of the two.
-- reads: neuron_summary
-- params:
SELECT
    floor(density * 10) / 10 AS density_from,
    count(*) AS n_units,
    round(avg(value), 3) AS mean_value,
    round((
        SELECT corr(s.density, s.value)
        FROM neuron_summary s
        WHERE s.value IS NOT NULL
    ), 3) AS correlation_overall
FROM neuron_summary
WHERE value IS NOT NULL
GROUP BY floor(density * 10) / 10
ORDER BY density_from
