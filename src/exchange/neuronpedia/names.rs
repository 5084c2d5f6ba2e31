//! What Neuronpedia calls explainers, scorers and language models, and what we call them.

/// Explainers that both have: theirs, ours.
const EXPLAINERS: [(&str, &str); 3] =
    [("oai_token-act-pair", "token_activation"), ("np_max-act", "max_activation"), ("np_max-act-logits", "logits")];

/// An explanation without a type was written by a person.
const HUMAN: &str = "human";

/// Scores that both have: their type; our scorer and metric.
const SCORES: [(&str, &str, &str); 4] = [
    ("eleuther_fuzz", "fuzzing", "balanced_accuracy"),
    ("eleuther_recall", "detection", "balanced_accuracy"),
    ("eleuther_embedding", "embedding", "roc_auc"),
    ("recall_alt", "recall_alt", "accuracy"),
];

/// Our own score types, for numbers that the site has no name for: `neuronlake_<scorer>_<metric>`.
const OURS: &str = "neuronlake";

/// Language models by the beginning of their name, and the engine that serves them.
const ENGINES: [(&str, &str); 8] = [
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("claude-", "anthropic"),
    ("gemini-", "google"),
    ("deepseek-", "deepseek"),
];

/// Our name of the explainer behind a `typeName`; one that we do not have keeps its own.
pub(super) fn explainer(type_name: Option<&str>) -> String {
    match type_name.filter(|name| !name.is_empty()) {
        None => HUMAN.to_owned(),
        Some(name) => EXPLAINERS.iter().find(|(theirs, _)| *theirs == name).map_or(name, |(_, ours)| ours).to_owned(),
    }
}

/// The `typeName` of an explainer.
pub(super) fn type_name(explainer: &str) -> Option<&str> {
    (explainer != HUMAN)
        .then(|| EXPLAINERS.iter().find(|(_, ours)| *ours == explainer).map_or(explainer, |(theirs, _)| theirs))
}

/// A language model as `engine:model`; one whose engine its name does not tell keeps its name.
pub(crate) fn model(name: &str) -> String {
    match ENGINES.iter().find(|(start, _)| name.starts_with(start)) {
        Some((_, engine)) => format!("{engine}:{name}"),
        None => name.to_owned(),
    }
}

/// Neuronpedia's name of a language model: without its engine, where [`model`] would find that again.
pub(super) fn model_name(ours: &str) -> &str {
    match ours.split_once(':') {
        Some((_, name)) if model(name) == ours => name,
        _ => ours,
    }
}

/// Scorer and metric behind a score's type.
pub(super) fn score(type_name: &str) -> (String, String) {
    if let Some((_, scorer, metric)) = SCORES.iter().find(|(theirs, ..)| *theirs == type_name) {
        return ((*scorer).to_owned(), (*metric).to_owned());
    }
    // The reconstruction's cosine and the like: the site's only number of that scorer.
    (type_name.to_owned(), "value".to_owned())
}

/// A score's type.
pub(super) fn score_type(scorer: &str, metric: &str) -> String {
    match SCORES.iter().find(|(_, ours, of)| *ours == scorer && *of == metric) {
        Some((theirs, ..)) => (*theirs).to_owned(),
        None if metric == "value" => scorer.to_owned(),
        None => format!("{OURS}_{scorer}_{metric}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (theirs, ours) in [
            (None, "human"),
            (Some("oai_token-act-pair"), "token_activation"),
            (Some("np_max-act-logits"), "logits"),
            (Some("np_acts-logits-general"), "np_acts-logits-general"),
            (Some("eleuther_acts_top20"), "eleuther_acts_top20"),
        ] {
            assert_eq!(explainer(theirs), ours);
            assert_eq!(type_name(ours), theirs);
        }
        for (theirs, ours) in
            [("gpt-4o-mini", "openai:gpt-4o-mini"), ("some-model", "some-model"), ("local:/a/b", "local:/a/b")]
        {
            assert_eq!(model(theirs), ours);
            assert_eq!(model_name(ours), theirs);
        }
        // Another engine's model of the same name keeps its engine.
        assert_eq!(model_name("azure:gpt-4o"), "azure:gpt-4o");
        for theirs in ["eleuther_fuzz", "eleuther_recall", "eleuther_embedding", "recall_alt", "nla_reconstructor"] {
            let (scorer, metric) = score(theirs);
            assert_eq!(score_type(&scorer, &metric), theirs);
        }
        assert_eq!(score_type("all_at_once", "ev_correlation"), "neuronlake_all_at_once_ev_correlation");
    }
}
