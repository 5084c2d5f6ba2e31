//! Every word of the corpus with its classes, so that the rules are exact: no word is in doubt, because a word that could be
//! two things is used as one of them only ("bank" lends money, "march" is a month).

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a word can be; `…Weak` are words that have only something of the class before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Class {
    // Parts of speech and forms.
    Noun,
    Plural,
    Verb,
    /// "I walk", "to walk".
    Base,
    /// "walked", but not [`Class::PastAuxiliary`].
    Past,
    /// "was", "did".
    PastAuxiliary,
    Modal,
    Adjective,
    Comparative,
    Superlative,
    Adverb,
    /// An adverb in -ly.
    Ly,
    Preposition,
    Pronoun,
    Possessive,
    QuestionWord,
    Negation,
    /// Articles, conjunctions and the rest.
    Function,
    // Meanings.
    Number,
    NumberWeak,
    Colour,
    ColourWeak,
    Animal,
    AnimalWeak,
    Kin,
    KinWeak,
    Motion,
    Speech,
    Calendar,
    CalendarWeak,
    Food,
    FoodWeak,
    Body,
    Emotion,
    EmotionWeak,
    Weather,
    WeatherWeak,
    Money,
    MoneyWeak,
    Person,
    City,
    Clothing,
    Vehicle,
    Music,
    MusicWeak,
    Plant,
    Building,
    BuildingWeak,
    Job,
}

use Class::*;

/// A set of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes(u64);

impl Classes {
    /// Whether a class is among them.
    pub fn has(self, class: Class) -> bool {
        self.0 & Self::bit(class) != 0
    }

    fn of(classes: &[Class]) -> Self {
        Self(classes.iter().fold(0, |bits, class| bits | Self::bit(*class)))
    }

    fn bit(class: Class) -> u64 {
        1 << class as u32
    }
}

/// The classes of a word without its leading space; none for a word that is not known and for marks.
///
/// Names are known with their capital only, other words with and without one. Every run of digits is a number.
pub fn classes(word: &str) -> Classes {
    find(word).unwrap_or_default()
}

/// Whether the lexicon has a word or mark.
pub fn knows(word: &str) -> bool {
    find(word).is_some()
}

fn find(word: &str) -> Option<Classes> {
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Classes::of(&[Number]));
    }
    LEXICON.get(word).or_else(|| LEXICON.get(word.to_lowercase().as_str())).copied()
}

static LEXICON: LazyLock<HashMap<&'static str, Classes>> = LazyLock::new(|| {
    let words = |(classes, words): &(&[Class], &'static str)| {
        let classes = Classes::of(classes);
        words.split_whitespace().map(move |word| (word, classes)).collect::<Vec<_>>()
    };
    ENTRIES.iter().flat_map(words).collect()
});

/// Each word stands here once.
pub(super) const ENTRIES: &[(&[Class], &str)] = &[
    (&[], ". , ? ! \" 's"),
    (&[Function], "the a an and but or so because than until every other there too both"),
    (&[Function], "nobody everybody much many again even now then later today home"),
    (&[Negation], "not never"),
    (&[QuestionWord], "who what where when why how which"),
    (&[Preposition], "in on at of to from with by under near across through into before after behind for about over"),
    (&[Pronoun], "I he she it him you they we them"),
    (&[Possessive], "his her your its yours my our their"),
    (&[Modal], "could would must can will should"),
    (&[PastAuxiliary], "was were did had"),
    (&[Function], "is are am do does have has"),
    // Verbs.
    (&[Verb, Base, Motion], "walk run go return hurry climb swim drive travel sail arrive come move leave ride"),
    (
        &[Verb, Past, Motion],
        "walked ran went left came travelled crossed hurried jumped climbed drove moved crept followed swam returned sailed \
         arrived rode",
    ),
    (&[Verb, Base, Speech], "say tell explain answer speak ask shout"),
    (
        &[Verb, Past, Speech],
        "said asked whispered shouted repeated answered explained replied talked called spoke told",
    ),
    (
        &[Verb, Base],
        "want stop sleep read rest keep play carry repair like hear understand count write draw remember learn feel eat wash \
         break cook dance sing find choose visit wear need see trust paint grow taste wait complain teach open forget live cry listen",
    ),
    (
        &[Verb, Past],
        "wanted counted slept ate cooked knew saw closed looked became covered broke wore lived fed cleaned opened stood \
         stayed injured played filled sang listened felt learned wrote forgot liked understood gave brought washed kissed \
         remembered sat began folded sent waited hung needed planted watered touched grew worked trusted thought smelled",
    ),
    (&[Verb, Past, EmotionWeak], "laughed smiled cried"),
    (&[Verb], "needs wants grows sleeps"),
    (&[Verb, Base, MoneyWeak], "buy sell pay cost earn spend lend"),
    (&[Verb, Past, MoneyWeak], "bought sold paid"),
    // Adverbs.
    (
        &[Adverb, Ly],
        "slowly carefully quietly quickly silently softly loudly beautifully gently patiently clearly closely neatly bravely",
    ),
    (&[Adverb, Ly, Emotion], "happily proudly sadly nervously calmly"),
    // Adjectives.
    (
        &[Adjective],
        "old long small large quiet thick heavy tall full low slow tired short ill painful weak late rich dear",
    ),
    (
        &[Adjective, Comparative],
        "higher lower better smaller stronger harder louder worse older faster longer shorter quieter",
    ),
    (&[Adjective, Comparative], "taller larger sweeter thicker younger"),
    (&[Adjective, Comparative, MoneyWeak], "cheaper"),
    (&[Adjective, Comparative, WeatherWeak], "colder warmer hotter"),
    (&[Adjective, Comparative, ColourWeak], "darker whiter"),
    (&[Adjective, Comparative, Emotion], "angrier happier sadder calmer"),
    (&[Adjective, Superlative], "youngest oldest tallest best largest"),
    (&[Adjective, Superlative, MoneyWeak], "cheapest"),
    (&[Adjective, Colour], "red green yellow white brown grey black blue pink purple"),
    (&[Adjective, ColourWeak], "dark"),
    (&[Adjective, Emotion], "happy glad calm sad nervous proud afraid worried lonely angry"),
    (&[Adjective, Weather], "cloudy sunny windy foggy rainy"),
    (&[Adjective, WeatherWeak], "cold warm wet hot"),
    (&[Number], "two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty thousand"),
    (&[NumberWeak], "half first third pair dozen"),
    // Names.
    (&[Person], "Anna Clara Emma Julia Laura Maria Nora Sofia Helen Alice"),
    (&[Person], "Daniel David Henry Jacob Leo Oscar Peter Thomas Simon Martin"),
    (&[City], "Paris London Rome Berlin Madrid Lisbon Vienna Prague Dublin Oslo Boston Chicago Kyoto Cairo Lima"),
    (&[Noun, Calendar], "January February March April May June July August September October November December"),
    (&[Noun, Calendar], "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    (&[Noun, CalendarWeak], "winter summer autumn weekend"),
    // Things.
    (
        &[Noun, Animal],
        "dog cat horse cow goat pig fox wolf snake mouse rabbit bird frog butterfly snail whale dolphin seal hen",
    ),
    (&[Noun, Plural, Animal], "dogs cats horses cows goats hens pigs birds butterflies"),
    (&[Noun, AnimalWeak], "animal herd"),
    (&[Noun, Kin], "sister brother aunt uncle cousin mother father grandmother grandfather niece nephew daughter son"),
    (&[Noun, Plural, Kin], "cousins sisters brothers"),
    (&[Noun, KinWeak], "family child"),
    (&[Noun, Plural, KinWeak], "children"),
    (&[Noun, Food], "bread honey cheese butter rice soup cake pie salad"),
    (&[Noun, Plural, Food], "apples eggs beans onions cakes"),
    (&[Noun, FoodWeak], "dinner milk wine salt loaf"),
    (&[Noun, Body], "leg knee foot head neck shoulder arm ankle elbow hand finger face heart hair"),
    (&[Noun, Plural, Body], "fingers eyes ears teeth hands feet knees arms"),
    (&[Noun, Emotion], "fear sadness anger joy grief"),
    (&[Noun, Weather], "storm snow hail frost wind thunder cloud rain fog weather sunshine"),
    (&[Noun, Plural, Weather], "storms"),
    (&[Noun, WeatherWeak], "sky ice"),
    (&[Noun, Money], "price money coin cash rent debt loan salary bank"),
    (&[Noun, Plural, Money], "coins dollars euros"),
    (&[Noun, MoneyWeak], "wallet"),
    (&[Noun, Clothing], "coat scarf hat dress shirt jacket skirt"),
    (&[Noun, Plural, Clothing], "boots gloves shoes hats coats socks scarves dresses"),
    (&[Noun, Vehicle], "train bus ferry truck car boat taxi ship"),
    (&[Noun, Music], "piano violin flute song guitar drum trumpet music tune melody"),
    (&[Noun, Plural, Music], "drums trumpets violins guitars songs"),
    (&[Noun, MusicWeak], "sound"),
    (&[Noun, Plant], "oak pine willow maple tree grass"),
    (&[Noun, Plural, Plant], "trees flowers roses tulips leaves"),
    (&[Noun, Building], "church station school hotel barn library museum house cottage shop"),
    (&[Noun, BuildingWeak], "kitchen room"),
    (&[Noun, Job], "baker farmer driver teacher musician singer doctor nurse sailor tailor painter captain"),
    (&[Noun, Plural, Job], "teachers sailors painters musicians"),
    (
        &[Noun],
        "market jar basket box table farm city bridge border road window ticket evening morning night lamp fence field \
         river name king board lesson story pupil poem water bowl plate pot floor midnight letter truth line paper envelope \
         stamp garden smell street stranger door island smoke oil mud friend roof",
    ),
    (
        &[Noun, Plural],
        "suitcases bags books hills fields valleys stars lights days roofs streets gardens windows doors pieces tickets \
         pupils students words pills tablets guests plates cups bowls weeks strangers boxes hours",
    ),
];
