//! Every function is documented, and its example runs and stands in `tests/slt/functions/`.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::pipeline::settings::Settings;
use crate::pipeline::{self, Observer, StageReport, steps::Step};
use crate::session::{Session, SessionOptions};
use crate::tables::lake::Lake;

struct Silent;

impl Observer for Silent {
    fn run_started(&self, _: usize) {}
    fn stage_started(&self, _: &Step) {}
    fn stage_advanced(&self, _: &Step, _: u64, _: u64, _: &str) {}
    fn stage_finished(&self, _: &StageReport) {}
}

#[test]
fn every_function_is_documented() {
    let documented: BTreeSet<String> = documentation().into_iter().map(|doc| doc.name).collect();
    let models = Arc::new(Models::default());
    let all = scalars(&models).iter().map(|f| f.name().to_owned()).collect::<Vec<_>>();
    let unused = LanguageModels::open(LanguageModelOptions::default()).unwrap();
    let askers = askers(&Arc::new(MethodRegistry::new(unused)), &models);
    let all = all.into_iter().chain(askers.iter().map(|f| f.name().to_owned()));
    let all = all.chain(aggregates().iter().map(|f| f.name().to_owned()).collect::<Vec<_>>());
    let tables = [
        "read_corpus",
        "collect_activations",
        "firings",
        "encode",
        "activations_on",
        "neurons_like",
        "similar_latents",
        "logit_lens",
        "keyword_matches",
        "semantic_matches",
        "table_versions",
        "weight_links",
        "weight_tokens",
    ]
    .map(str::to_owned);
    assert_eq!(documented, all.chain(tables).collect());
}

#[test]
fn every_function_has_its_example_in_an_slt_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt/functions");
    for doc in documentation() {
        let path = folder.join(format!("{}.slt", doc.name));
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text.contains(&doc.example), "tests/slt/functions/{}.slt lacks the example: {}", doc.name, doc.example);
    }
}

#[tokio::test]
async fn every_example_runs_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::at(folder.path().to_str().unwrap()).unwrap();
    let session = Session::open(lake, Arc::new(Models::default()), SessionOptions::default()).unwrap();
    let settings = Settings {
        limit: Some(10),
        layers: vec![0],
        neurons: crate::neurons::selection::NeuronSelection::parse("0-1").unwrap(),
        to: Some("neurons".to_owned()),
        ..Settings::default()
    };
    pipeline::run(&session, &settings, &Silent).await.unwrap();
    crate::autoencoders::example::publish_example(&session).await.unwrap();
    for doc in documentation() {
        let rows = session.sql(&doc.example).await.unwrap_or_else(|error| panic!("{}: {error}", doc.name));
        let batches = rows.collect().await.unwrap_or_else(|error| panic!("{}: {error}", doc.name));
        assert!(batches.iter().any(|batch| batch.num_rows() > 0), "{}: no rows", doc.name);
    }
}
