//! Counters and how they are shown.

use super::*;

#[test]
fn what_was_counted_is_shown() {
    let metrics = Metrics::new();
    metrics.rows("scores").inc_by(12);
    metrics.stage("60_scores", Duration::from_millis(500), 0.25);
    metrics.model_calls(3, 2, 100, 20);
    metrics.pipeline_run("nightly", "done", 1_700_000_000);
    metrics.pipeline_run("nightly", "failed", 1_700_000_060);
    metrics.query("done", Duration::from_millis(3));
    metrics.error("network");
    let text = metrics.text();
    for line in [
        "neuronlake_rows_written_total{table=\"scores\"} 12",
        "neuronlake_stage_seconds_count{stage=\"60_scores\"} 1",
        "neuronlake_stage_seconds_sum{stage=\"60_scores\"} 0.5",
        "neuronlake_model_cost_dollars_total{stage=\"60_scores\"} 0.25",
        "neuronlake_model_calls_total{by=\"store\"} 2",
        "neuronlake_model_tokens_total{kind=\"prompt\"} 100",
        "neuronlake_pipeline_runs_total{pipeline=\"nightly\",outcome=\"failed\"} 1",
        "neuronlake_pipeline_last_success_time_seconds{pipeline=\"nightly\"} 1700000000",
        "neuronlake_queries_served_total{outcome=\"done\"} 1",
        "neuronlake_errors_total{kind=\"network\"} 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
}
