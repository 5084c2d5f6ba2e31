//! What language models are asked as judges, with examples of our own.

use crate::completions::request::Message;

/// One worked example of a prompt.
pub(super) struct Shot {
    /// The explanation; empty for a judge that sees none.
    explanation: &'static str,
    texts: &'static [&'static str],
    answer: &'static str,
}

/// The frame of a prompt and its examples.
pub(super) struct Prompt {
    system: &'static str,
    shots: &'static [Shot],
}

/// Whether the examples of a prompt are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shots {
    Shown,
    /// To save room.
    Dropped,
}

/// Detection: which texts fit.
pub(super) const DETECTION: Prompt = Prompt {
    system: "A detector reads short pieces of text and reacts to one kind of thing. You are told what it reacts to, and shown \
             numbered texts. For each text decide whether the detector reacts anywhere in it: 1 if it does, 0 if it does not. \
             Texts are cut out of longer ones and may start or end in the middle of a word. Any number of them, also none or \
             all, may be a 1. Answer with one list of ones and zeros, in the order of the texts, and nothing else.",
    shots: &[
        Shot {
            explanation: "kinds of weather",
            texts: &[
                "the evening ferry was cancelled because of fog and heavy rain,",
                "she read the lease twice before she paid the deposit",
                " hail the size of marbles had dented the roof of the van",
                "we counted the votes again, this time aloud, and came to the same",
                "a warm wind dried the washing before noon",
            ],
            answer: "[1, 0, 1, 0, 1]",
        },
        Shot {
            explanation: "house numbers in addresses",
            texts: &[
                "he scored 14 goals in his last season with the club",
                "parcels go to the back door of 220 Harbour Street,",
                "about 300 people had come by the time it opened",
            ],
            answer: "[0, 1, 0]",
        },
        Shot {
            explanation: "words in which someone refuses",
            texts: &[
                "the bakery opens at six on market days",
                "a map of the old canals hung over the piano",
                "count the stitches and turn the work",
                "lemons, a little salt and the oil they were kept in",
            ],
            answer: "[0, 0, 0, 0]",
        },
    ],
};

/// Fuzzing: in which texts the marks fit.
pub(super) const FUZZING: Prompt = Prompt {
    system: "A detector reads short pieces of text and reacts to one kind of thing. You are told what it reacts to, and shown \
             numbered texts in which some words or parts of words stand between « and ». In some texts the marks are where the \
             detector reacted; in others they were put at random. For each text decide whether its marks fit what the \
             detector reacts to: 1 if they do, 0 if they do not, also where the text holds such a thing but unmarked. Any \
             number of texts, also none or all, may be a 1. Answer with one list of ones and zeros, in the order of the \
             texts, and nothing else.",
    shots: &[
        Shot {
            explanation: "kinds of weather",
            texts: &[
                "the evening ferry was cancelled because of «fog» and heavy «rain»,",
                " hail the size «of» marbles had dented the roof of «the van»",
                "we counted the votes «again», this time aloud, and came to the same",
                "a warm «wind» dried the washing before noon",
            ],
            answer: "[1, 0, 0, 1]",
        },
        Shot {
            explanation: "house numbers in addresses",
            texts: &[
                "parcels go «to» the back door of 220 Harbour Street,",
                "the clinic moved to «41» Quarry Lane in the spring",
                "he scored «14» goals in his last season with the club",
            ],
            answer: "[0, 1, 0]",
        },
    ],
};

/// Intruder: which text is the odd one.
pub(super) const INTRUDER: Prompt = Prompt {
    system: "A detector reads short pieces of text and reacts to one kind of thing, which you are not told. You are shown \
             numbered texts in which some words or parts of words stand between « and ». In all texts but one the marks are \
             where the detector reacted; in that one they were put at random. Find out what the marks have in common and name \
             the text that does not belong. Answer with its number and nothing else.",
    shots: &[
        Shot {
            explanation: "",
            texts: &[
                "the evening ferry was cancelled because of «fog» and heavy rain,",
                "a warm «wind» dried the washing before noon",
                "parcels go «to» the back door of 220 Harbour Street,",
                " «hail» the size of marbles had dented the roof of the van",
                "they waited under the bridge until the «thunder» had passed",
            ],
            answer: "3",
        },
        Shot {
            explanation: "",
            texts: &[
                "my «aunt» kept the letters in a biscuit tin",
                "count the stitches «and» turn the work",
                "his «brother» and two «cousins» rowed the other boat",
                "it was her «grandfather» who planted the row of limes",
                "the bride's «mother» had forgotten the rings",
            ],
            answer: "2",
        },
    ],
};

/// A conversation that asks a judge about texts.
pub(super) fn messages(prompt: &Prompt, shots: Shots, explanation: &str, texts: &[String]) -> Vec<Message> {
    let mut messages = vec![Message::system(prompt.system)];
    for shot in prompt.shots.iter().filter(|_| shots == Shots::Shown) {
        let texts: Vec<&str> = shot.texts.iter().map(|text| text.trim()).collect();
        messages.push(Message::user(question(shot.explanation, &texts)));
        messages.push(Message::assistant(shot.answer));
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    messages.push(Message::user(question(explanation, &texts)));
    messages
}

fn question(explanation: &str, texts: &[&str]) -> String {
    let mut question = String::new();
    if !explanation.is_empty() {
        // One line, so that no explanation can pose as a text.
        let words: Vec<&str> = explanation.split_whitespace().collect();
        question.push_str(&format!("The detector reacts to: {}\n\n", words.join(" ")));
    }
    question.push_str("Texts:");
    for (i, text) in texts.iter().enumerate() {
        question.push_str(&format!("\n{}. {text}", i + 1));
    }
    question
}

/// Everything a prompt says beside explanation and texts.
pub(super) fn fingerprint(prompt: &Prompt) -> String {
    let messages = messages(prompt, Shots::Shown, "{explanation}", &["{text}".to_owned()]);
    messages.into_iter().map(|message| message.content).collect::<Vec<_>>().join("\n\n")
}
