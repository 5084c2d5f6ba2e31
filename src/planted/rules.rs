//! What the planted units do, and the true words for it.

use std::fmt;

use crate::planted::lexicon::Class;
use crate::planted::lexicon::Class::*;
use crate::planted::reading::Reading;
use crate::planted::{CORE, WEAK};

/// What a method has to understand to know a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// What the word means: colours, animals.
    Meaning,
    /// What kind of word it is: plurals, past tense.
    Form,
    /// What stands around it: the word after "of".
    Context,
    /// Two unrelated rules.
    TwoRules,
}

impl Kind {
    /// Every kind, in the order of reports.
    pub const ALL: [Kind; 4] = [Kind::Meaning, Kind::Form, Kind::Context, Kind::TwoRules];
}

impl fmt::Display for Kind {
    /// `meaning`, `form`, `context` or `two rules`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Meaning => "meaning",
            Kind::Form => "form",
            Kind::Context => "context",
            Kind::TwoRules => "two rules",
        })
    }
}

/// One planted unit: what it does and what it is truly about.
pub struct Rule {
    /// Short name, a word or two joined by underscores.
    pub name: &'static str,
    /// The true explanation, a phrase.
    pub explanation: &'static str,
    /// The same in other words.
    pub paraphrase: &'static str,
    /// What it takes to understand it.
    pub kind: Kind,
    activation: fn(&Reading, usize) -> f32,
}

impl Rule {
    /// The activation on one token, without noise.
    pub(crate) fn activation(&self, reading: &Reading, i: usize) -> f32 {
        (self.activation)(reading, i)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.name).finish()
    }
}

macro_rules! rules {
    ($($kind:ident $name:literal: $explanation:literal, $paraphrase:literal => $activation:expr;)*) => {
        /// Every rule.
        pub(crate) static RULES: [Rule; [$($name),*].len()] = [$(Rule {
            name: $name,
            explanation: $explanation,
            paraphrase: $paraphrase,
            kind: Kind::$kind,
            activation: $activation,
        }),*];
    };
}

rules! {
    Meaning "numbers": "numbers, written as digits or as words", "figures and number words such as seven or 40"
        => |r, i| graded(r, i, Number, NumberWeak);
    Meaning "colours": "names of colours", "words that say what colour something is, like red"
        => |r, i| graded(r, i, Colour, ColourWeak);
    Meaning "animals": "animals", "creatures such as dogs, birds and horses"
        => |r, i| graded(r, i, Animal, AnimalWeak);
    Meaning "kinship": "members of a family, such as mother or uncle", "relatives: words for kin"
        => |r, i| graded(r, i, Kin, KinWeak);
    Meaning "motion": "verbs of moving from one place to another", "going somewhere: walk, ran, drive"
        => |r, i| core(r.is(i, Motion));
    Meaning "speech": "verbs of saying something", "speaking: said, asked, whispered"
        => |r, i| core(r.is(i, Speech));
    Meaning "calendar": "months and days of the week", "dates: words such as Monday or October"
        => |r, i| graded(r, i, Calendar, CalendarWeak);
    Meaning "food": "things to eat", "foods such as bread and soup"
        => |r, i| graded(r, i, Food, FoodWeak);
    Meaning "body": "parts of the body", "anatomy: hands, knees, eyes"
        => |r, i| core(r.is(i, Body));
    Meaning "emotions": "feelings and emotions", "words for moods such as angry, joy or sadly"
        => |r, i| graded(r, i, Emotion, EmotionWeak);
    Meaning "weather": "the weather", "rain, wind and other conditions of the sky"
        => |r, i| graded(r, i, Weather, WeatherWeak);
    Meaning "money": "money and what things cost", "finance: coins, prices and payment"
        => |r, i| graded(r, i, Money, MoneyWeak);
    Meaning "people": "first names of people", "what persons are called, like Anna or Peter"
        => |r, i| core(r.is(i, Person));
    Meaning "cities": "names of cities", "towns of the world such as Rome or Boston"
        => |r, i| core(r.is(i, City));
    Meaning "clothing": "clothes", "things that people wear, such as a coat or shoes"
        => |r, i| core(r.is(i, Clothing));
    Meaning "vehicles": "vehicles", "means of transport: trains, cars and boats"
        => |r, i| core(r.is(i, Vehicle));
    Meaning "music": "musical instruments and music", "what is played in a concert: violin, drums, songs"
        => |r, i| graded(r, i, Music, MusicWeak);
    Meaning "plants": "plants, trees and flowers", "what grows in a garden or a forest"
        => |r, i| core(r.is(i, Plant));
    Meaning "buildings": "buildings", "houses, schools, churches and the like"
        => |r, i| graded(r, i, Building, BuildingWeak);
    Meaning "occupations": "people's occupations", "jobs, such as teacher or baker"
        => |r, i| core(r.is(i, Job));

    Form "plural_nouns": "plural nouns", "nouns that name more than one thing"
        => |r, i| core(r.is(i, Plural));
    Form "past_tense": "verbs in the past tense", "what somebody did: past forms such as walked or sang"
        => |r, i| if r.is(i, Past) { CORE } else { weak(r.is(i, PastAuxiliary)) };
    Form "comparatives": "adjectives that compare, such as older or better", "comparative forms: taller, worse"
        => |r, i| graded(r, i, Comparative, Superlative);
    Form "ly_adverbs": "adverbs that end in -ly", "words like slowly and quietly that tell how something is done"
        => |r, i| core(r.is(i, Ly));
    Form "question_words": "question words such as who, why and where", "what a question begins with: how, when, what"
        => |r, i| match (r.is(i, QuestionWord), r.in_question(i)) {
            (true, true) => CORE,
            (found, _) => weak(found),
        };
    Form "prepositions": "prepositions", "little words of place and direction such as under, from and with"
        => |r, i| core(r.is(i, Preposition) && !is_infinitive_to(r, i));
    Form "pronouns": "personal pronouns", "he, she, it, they: words that stand for a person or thing"
        => |r, i| graded(r, i, Pronoun, Possessive);
    Form "modal_verbs": "modal verbs such as could, must and would", "helping verbs of ability, duty and possibility"
        => |r, i| core(r.is(i, Modal));

    Context "negation_before_verb": "\"not\" or \"never\" directly before a verb", "negation of what somebody does"
        => |r, i| match r.next(i) {
            Some(next) if r.is(i, Negation) => core(r.is(next, Verb)),
            _ => 0.0,
        };
    Context "after_of": "the word right after \"of\"", "whatever follows the preposition of"
        => after_of;
    Context "sentence_start": "the first word of a sentence", "the word with which a new sentence begins"
        => |r, i| match r.previous(i) {
            _ if r.starts_sentence(i) => CORE,
            Some(before) => weak(r.is_quoted(i) && r.says(before, "\"")),
            None => 0.0,
        };
    Context "in_quotes": "words inside quotation marks", "what somebody says in direct speech, between quotes"
        => |r, i| core(r.is_quoted(i));
    Context "after_comma": "the word right after a comma", "whatever comes directly behind a comma"
        => |r, i| match (r.previous(i), r.previous_unquoted(i)) {
            (Some(before), _) if r.is_word(i) && r.says(before, ",") => CORE,
            (_, Some(before)) => weak(r.is_word(i) && r.says(before, ",")),
            _ => 0.0,
        };
    Context "second_mention": "a noun, verb or adjective said for the second time in a sentence",
        "repetition of an important word within one sentence"
        => |r, i| core(r.is_any(i, &[Noun, Verb, Adjective, Person, City]) && r.is_repeated(i));
    Context "question_end": "the last word of a question", "the word right before a question mark"
        => |r, i| match r.next(i) {
            Some(next) => core(r.is_word(i) && r.says(next, "?")),
            None => 0.0,
        };
    Context "coloured_thing": "the thing that a colour is said of: the noun right after a colour word",
        "a noun directly after red, green, white and so on"
        => |r, i| match r.previous(i) {
            Some(before) => core(r.is(before, Colour) && r.is(i, Noun)),
            None => 0.0,
        };
    Context "to_before_verb": "the word \"to\" before a verb", "\"to\" as the mark of an infinitive"
        => |r, i| core(is_infinitive_to(r, i));
    Context "after_name": "the word right after a person's name", "what directly follows a name such as Anna or Peter"
        => |r, i| match r.previous(i) {
            Some(before) => core(r.is(before, Person) && r.is_word(i)),
            None => 0.0,
        };

    TwoRules "colours_or_kinship": "names of colours, and also members of a family",
        "either a colour such as red or a relative such as an aunt"
        => |r, i| graded(r, i, Colour, ColourWeak).max(graded(r, i, Kin, KinWeak));
    TwoRules "animals_or_money": "animals, and also words about money", "either a creature or something financial"
        => |r, i| graded(r, i, Animal, AnimalWeak).max(graded(r, i, Money, MoneyWeak));
    TwoRules "calendar_or_body": "months and weekdays, and also parts of the body",
        "either a date word such as Friday or a body part such as a knee"
        => |r, i| graded(r, i, Calendar, CalendarWeak).max(core(r.is(i, Body)));
    TwoRules "weather_or_clothing": "the weather, and also clothes", "either rain and wind or something to wear"
        => |r, i| graded(r, i, Weather, WeatherWeak).max(core(r.is(i, Clothing)));
    TwoRules "music_or_after_of": "musical instruments, and also the word right after \"of\"",
        "either something to play music on or whatever follows the word of"
        => |r, i| graded(r, i, Music, MusicWeak).max(after_of(r, i));
}

fn core(found: bool) -> f32 {
    if found { CORE } else { 0.0 }
}

fn weak(found: bool) -> f32 {
    if found { WEAK } else { 0.0 }
}

fn graded(reading: &Reading, i: usize, strong: Class, faint: Class) -> f32 {
    core(reading.is(i, strong)).max(weak(reading.is(i, faint)))
}

fn after_of(reading: &Reading, i: usize) -> f32 {
    reading.previous(i).map_or(0.0, |before| core(reading.is_word(i) && reading.says(before, "of")))
}

fn is_infinitive_to(reading: &Reading, i: usize) -> bool {
    reading.says(i, "to") && reading.next(i).is_some_and(|next| reading.is(next, Base))
}
