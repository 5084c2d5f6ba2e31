//! Every rule on sentences of which a person said what it does.

use crate::planted::tokens::tokenize;
use crate::planted::{activations_of, rule, rules};

const SENTENCES: [&str; 16] = [
    "The brown dog followed Anna, and Anna followed the dog.",
    "On Monday, three sisters walked slowly from the church to London.",
    "\"You must not run before June,\" whispered the nurse.",
    "Who wanted to buy a pair of red shoes?",
    "The price of bread was lower than in March, and nobody paid.",
    "His mother was sad, because the rain never came.",
    "Peter asked, \"Where does the train stop?\"",
    "She cooked soup and played the violin in a small house under an oak.",
    "The oldest sailor could not climb, and his knee was cold.",
    "It was not the first debt.",
    "Nobody knew when the ferry would arrive quietly.",
    "Her uncle wore gloves, a hat and a grey coat in the snow.",
    "Horses, cows and pigs happily left the barn for Rome.",
    "The driver of the boat said, \"My head, my arms and my heart are full of joy.\"",
    "In Oslo, Clara sang songs under tall trees, and the drums of Oscar were quieter than flowers.",
    "How much cheese and butter can seven sailors eat on Friday?",
];

/// Rule, then the words it fires on, sentence by sentence (counted from 1); `~` is weak, `#2` the second time the word
/// stands there. A sentence that is not named is silent.
const EXPECTED: &[(&str, &str)] = &[
    ("numbers", "2: three; 4: ~pair; 10: ~first; 16: seven"),
    ("colours", "1: brown; 4: red; 12: grey"),
    ("animals", "1: dog dog#2; 13: Horses cows pigs"),
    ("kinship", "2: sisters; 6: mother; 12: uncle"),
    ("motion", "1: followed followed#2; 2: walked; 3: run; 6: came; 9: climb; 11: arrive; 13: left"),
    ("speech", "3: whispered; 7: asked; 14: said"),
    ("calendar", "2: Monday; 3: June; 5: March; 16: Friday"),
    ("food", "5: bread; 8: soup; 16: cheese butter"),
    ("body", "9: knee; 14: head arms heart"),
    ("emotions", "6: sad; 13: happily; 14: joy"),
    ("weather", "6: rain; 9: ~cold; 12: snow"),
    ("money", "4: ~buy; 5: price ~paid; 10: debt"),
    ("people", "1: Anna Anna#2; 7: Peter; 15: Clara Oscar"),
    ("cities", "2: London; 13: Rome; 15: Oslo"),
    ("clothing", "4: shoes; 12: gloves hat coat"),
    ("vehicles", "7: train; 11: ferry; 14: boat"),
    ("music", "8: violin; 15: songs drums"),
    ("plants", "8: oak; 15: trees flowers"),
    ("buildings", "2: church; 8: house; 13: barn"),
    ("occupations", "3: nurse; 9: sailor; 14: driver; 16: sailors"),
    (
        "plural_nouns",
        "2: sisters; 4: shoes; 12: gloves; 13: Horses cows pigs; 14: arms; 15: songs trees drums flowers; 16: sailors",
    ),
    (
        "past_tense",
        "1: followed followed#2; 2: walked; 3: whispered; 4: wanted; 5: ~was paid; 6: ~was came; 7: asked; 8: cooked played; \
         9: ~was; 10: ~was; 11: knew; 12: wore; 13: left; 14: said; 15: sang ~were",
    ),
    ("comparatives", "5: lower; 9: ~oldest; 15: quieter"),
    ("ly_adverbs", "2: slowly; 11: quietly; 13: happily"),
    ("question_words", "4: Who; 7: Where; 11: ~when; 16: How"),
    (
        "prepositions",
        "2: On from to; 3: before; 4: of; 5: of in; 8: in under; 12: in; 13: for; 14: of of#2; 15: In under of; 16: on",
    ),
    ("pronouns", "3: You; 6: ~His; 8: She; 9: ~his; 10: It; 12: ~Her; 14: ~My ~my ~my#2"),
    ("modal_verbs", "3: must; 9: could; 11: would; 16: can"),
    ("negation_before_verb", "3: not; 6: never; 9: not"),
    ("after_of", "4: red; 5: bread; 14: the joy; 15: Oscar"),
    (
        "sentence_start",
        "1: The; 2: On; 3: You; 4: Who; 5: The; 6: His; 7: Peter ~Where; 8: She; 9: The; 10: It; 11: Nobody; 12: Her; \
         13: Horses; 14: The ~My; 15: In; 16: How",
    ),
    (
        "in_quotes",
        "3: You must not run before June; 7: Where does the train stop; 14: My head my arms and my#2 heart are full of#2 joy",
    ),
    (
        "after_comma",
        "1: and; 2: three; 3: ~whispered; 5: and; 6: because; 7: ~Where; 9: and; 12: a; 13: cows; 14: ~My my; 15: Clara and",
    ),
    ("second_mention", "1: Anna#2 followed#2 dog#2"),
    ("question_end", "4: shoes; 7: stop; 16: Friday"),
    ("coloured_thing", "1: dog; 4: shoes; 12: coat"),
    ("to_before_verb", "4: to"),
    ("after_name", "1: followed#2; 7: asked; 15: sang were"),
    ("colours_or_kinship", "1: brown; 2: sisters; 4: red; 6: mother; 12: uncle grey"),
    ("animals_or_money", "1: dog dog#2; 4: ~buy; 5: price ~paid; 10: debt; 13: Horses cows pigs"),
    ("calendar_or_body", "2: Monday; 3: June; 5: March; 9: knee; 14: head arms heart; 16: Friday"),
    ("weather_or_clothing", "4: shoes; 6: rain; 9: ~cold; 12: gloves hat coat snow"),
    ("music_or_after_of", "4: red; 5: bread; 8: violin; 14: the joy; 15: songs drums Oscar"),
];

/// The words on which a rule fires, written as in [`EXPECTED`].
fn found(name: &str, sentence: &str) -> Vec<String> {
    let tokens = tokenize(sentence);
    let activations = activations_of(rule(name).unwrap(), &tokens);
    let firing = activations.iter().enumerate().filter(|(_, activation)| **activation > 0.0);
    firing
        .map(|(i, activation)| {
            let nth = tokens[..=i].iter().filter(|token| token.trim() == tokens[i].trim()).count();
            let strength = if *activation == 5.0 { "~" } else { "" };
            let count = if nth > 1 { format!("#{nth}") } else { String::new() };
            format!("{strength}{}{count}", tokens[i].trim())
        })
        .collect()
}

#[test]
fn each_rule_does_what_a_person_expects() {
    assert_eq!(
        EXPECTED.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        rules().iter().map(|rule| rule.name).collect::<Vec<_>>()
    );
    for (name, expected) in EXPECTED {
        for (number, sentence) in (1..).zip(SENTENCES) {
            let words =
                expected.split("; ").find_map(|part| part.trim().strip_prefix(&format!("{number}: "))).unwrap_or("");
            let mut expected: Vec<&str> = words.split_whitespace().collect();
            let mut found = found(name, sentence);
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "{name}: {sentence}");
        }
    }
}

#[test]
fn what_a_rule_needs_beside_the_word_is_needed() {
    // Each pair: the same word where the rule holds and where it does not.
    for (name, with, without) in [
        ("negation_before_verb", "He did not sing.", "It was not a song."),
        ("to_before_verb", "Anna wanted to sing.", "Anna went to Rome."),
        ("second_mention", "The oak stood near the oak.", "The oak stood. The oak grew."),
        ("in_quotes", "Anna said, \"No.\"", "Anna said no."),
        ("question_end", "Is it rain?", "It is rain."),
        ("coloured_thing", "The red hat fell.", "The hat was red."),
        ("after_name", "Anna sang.", "Anna, my sister, sang."),
        ("question_words", "Who sang?", "Somebody sang."),
        ("after_of", "A cup of milk.", "A milk cup."),
        ("after_comma", "Now, sing.", "Now sing."),
    ] {
        assert!(found(name, with).iter().any(|word| !word.starts_with('~')), "{name}: {with}");
        assert!(!found(name, without).iter().any(|word| !word.starts_with('~')), "{name}: {without}");
    }
}

#[test]
fn unknown_words_belong_to_no_class_but_have_a_place() {
    let tokens = tokenize("Zorp, quux of blick?");
    let fires = |name: &str| activations_of(rule(name).unwrap(), &tokens);
    assert_eq!(fires("animals"), vec![0.0; tokens.len()]);
    assert_eq!(fires("after_of"), [0.0, 0.0, 0.0, 0.0, 10.0, 0.0]);
    assert_eq!(fires("sentence_start"), [10.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(fires("after_comma"), [0.0, 0.0, 10.0, 0.0, 0.0, 0.0]);
    assert!(activations_of(rule("animals").unwrap(), &Vec::<String>::new()).is_empty());
}

#[test]
fn the_documentation_lists_every_rule() {
    let page = include_str!("../../../docs/selftest.md");
    let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let rows: Vec<String> = rules()
        .iter()
        .map(|rule| format!("| `{}` | {} | {} | {} |", rule.name, rule.kind, rule.explanation, rule.paraphrase))
        .collect();
    assert_eq!(listed, rows);
}
