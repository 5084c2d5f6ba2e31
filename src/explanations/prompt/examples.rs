//! Three neurons that never were, with sentences of our own: how prompts show what an answer looks like.

use crate::explanations::evidence::{Evidence, EvidenceRecord};

/// A neuron with the answer we would give.
pub(super) struct Example {
    /// What is shown of it.
    pub(super) evidence: Evidence,
    /// The phrase after the lead-in, without its full stop.
    pub(super) answer: &'static str,
}

/// A neuron as it is written below: tokens end at `|`, an activation stands after `#`.
struct Written {
    records: &'static [&'static str],
    quiet: &'static [&'static str],
    promoted: &'static [&'static str],
    answer: &'static str,
}

/// One neuron of each kind: a place in the sentence, a topic, a class of words; the topic is dense, the others are sparse. The
/// last stands nearest to the question, and small models copy it: it is the plainest.
const WRITTEN: [Written; 3] = [
    Written {
        records: &[
            "We| stayed| at| home| because| the#10| road#3| was| flooded|,| and| we| slept| late| because| nobody#9| called|.",
            "The| shop| closed| because| its#9| owner#3| had| retired| to| the| coast|;| people| were| sad|.",
        ],
        quiet: &[
            "We| stayed| at| home| although| the| road| was| open|,| and| we| slept| late| when| nobody| called|.",
        ],
        promoted: &[" was", " had", " reason", " did"],
        answer: "the word right after \"because\"",
    },
    Written {
        records: &[
            "The| crew#3| hauled#7| in#3| the#2| main#9|sail#10| and#2| the#2| schooner#9| heeled#8| over#4| in#2| the#2| gale#6|.",
            "At| low| tide#5| the#2| dinghy#8| lay| on| the| mud|,| its| oars#8| stowed#6| and#1| its#2| anchor#9| buried#2|.",
        ],
        quiet: &["The| crew| of| workmen| hauled| the| bricks| up| and| the| scaffold| shook| in| the| wind|."],
        promoted: &[" aboard", " deck", " harbour", " ashore"],
        answer: "boats and the handling of boats",
    },
    Written {
        records: &[
            "Before| the| rehearsal| she| tuned| her| viol#10|in#9| and| put| the| cello#9| back| into| its| case|.",
            "Nobody| in| the| village| could| play| the| trumpet#10|,| but| my| neighbour| owned| an| old| accord#7|ion#9|.",
        ],
        quiet: &["Before| the| exam| she| sharpened| her| pencil| and| put| the| ruler| back| into| its| case|."],
        promoted: &[" solo", " concerto", "ist", " strings", " melody"],
        answer: "names of musical instruments",
    },
];

/// The examples, in the order in which prompts show them; of fewer the last are shown.
pub(super) fn examples() -> Vec<Example> {
    let records = |written: &[&str]| written.iter().map(|text| record(text)).collect();
    WRITTEN
        .iter()
        .map(|written| Example {
            evidence: Evidence {
                records: records(written.records),
                quiet: records(written.quiet),
                promoted: written.promoted.iter().map(|token| (*token).to_owned()).collect(),
            },
            answer: written.answer,
        })
        .collect()
}

/// A record from its written form.
fn record(written: &str) -> EvidenceRecord {
    let pairs = written.split('|').map(|token| match token.split_once('#') {
        Some((token, activation)) => (token.to_owned(), activation.parse().unwrap_or(0.0)),
        None => (token.to_owned(), 0.0),
    });
    let (tokens, activations) = pairs.unzip();
    EvidenceRecord { tokens, activations }
}
