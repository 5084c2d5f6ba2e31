//! The sentences that the corpus is made of: our own, grouped into scenes.
//!
//! `[a|b]` is a choice, `[x:a|b]` one that `{x}` repeats in the same sentence; `{A}` and `{B}` are the document's persons,
//! `{he}`, `{him}`, `{his}` belong to the first, `{P}` and `{Q}` are its cities, and the other names in braces are lists of
//! [`super::corpus`]. "a" becomes "an" and the first letter a capital where they should.

/// Sentences of one kind of story; the first opens most documents made of it, the others follow in order.
pub(super) type Scene = &'static [&'static str];

/// Every scene.
pub(super) const SCENES: [Scene; 14] =
    [MARKET, JOURNEY, STORM, FARM, CONCERT, SCHOOL, ILLNESS, DINNER, LETTER, SHOP, GARDEN, BANK, SEA, ADVICE];

const MARKET: Scene = &[
    "On {day}, {A} walked to the market in {P} with {his} {kin}.",
    "The [baker|farmer] sold a [loaf of bread|jar of honey|basket of apples|box of eggs] for {number} [coins|dollars|euros].",
    "{A} wanted to buy [cheese|butter|rice|soup], but the price was [higher|lower] than in {month}.",
    "The farmer asked, \"How many [apples|eggs|onions] do you want?\"",
    "\"The [beans|eggs|apples] are [cheaper|better|smaller] today,\" said the [baker|farmer].",
    "{A} counted {his} money [slowly|carefully|quietly] and paid.",
    "A [white|brown|grey] [dog|cat] slept under a table of [red|green|yellow] [apples|flowers].",
    "{his} {kin} never [ate|bought|cooked] onions, not even in {month}.",
    "The [x:cheese|bread|honey] from the farm was better than the {x} from the city.",
    "{B} paid with [a coin|money] from an old [brown|black|red] wallet.",
    "Later, {A} and {B} ate [bread|cake|soup] near the [church|station|school].",
    "\"I would like to [see|taste|buy] the [cheese|honey|cake],\" said {A}, \"and then the [bread|salad|pie].\"",
    "Why did the [bread|cheese|honey] cost {number} [dollars|euros]?",
];

const JOURNEY: Scene = &[
    "[{A} left {P} on a cold {day} in {month}|{A} and {B} left {P} before midnight|On a warm {day}, {A} began to travel|The road to {P} was long and dark].",
    "{he} travelled to {Q} by [train|bus|ferry] with {few} [suitcases|bags|books].",
    "The [train|bus|truck] crossed the [bridge|border] and hurried through the [hills|fields|valleys].",
    "{B} asked, \"Where does the [bus|train|ferry] stop?\"",
    "The driver did not [answer|stop|hurry], because the road was [wet|dark|long].",
    "From the window, {A} saw [black|white|brown] [horses|cows|goats] and a [red|blue|green] [car|truck|boat].",
    "The ticket to {Q} was [cheaper|better] than the ticket to {P}.",
    "{A} ran to the [station|hotel] and [jumped|climbed] into a taxi.",
    "Nobody knew when the [ferry|train|bus] would arrive.",
    "{he} could not [sleep|read|rest] on the [bus|train|ferry], so {he} counted the [stars|trees|lights].",
    "In {Q}, {A} walked [slowly|quickly|happily] across the bridge to a [small|large|quiet] hotel.",
    "\"You must return before {day},\" [said|whispered|repeated] {B}.",
    "{he} had to [stop|sleep|wait] in the [car|truck], but {he} did not [cry|complain|sleep].",
    "{A} drove an old [truck|car] from {P} to {Q} in {few} days.",
];

const STORM: Scene = &[
    "[The storm came to {P} on a {day} evening|On {day}, a storm began|The weather in {P} became worse in {month}|{A} saw a storm behind the hills].",
    "[Snow|Hail|Frost] covered the [roofs|streets|gardens] of {P}.",
    "The wind was [stronger|colder] than the wind in {month}.",
    "{A} closed the [windows|doors] [quickly|carefully] and looked for a lamp.",
    "\"The thunder is [louder|worse] now,\" [whispered|shouted|said] {B}.",
    "A [black|grey|white] cloud moved across the sky, and the [rain|fog] became [colder|darker].",
    "Who would [run|go|walk] to the barn in [rain|fog|snow]?",
    "{his} {kin} was afraid of [thunder|wind|storms].",
    "The [dogs|cats|horses] could not [sleep|rest], because the [thunder|wind] did not stop.",
    "{A} wore a [thick|heavy|grey] [coat|scarf|hat] and [warm|heavy|brown] [boots|gloves].",
    "By {day}, the weather was [sunny|windy|foggy], and {A} was [happy|glad|calm].",
    "A [tall|large|old] [oak|pine|willow] near the [church|school|barn] broke into {few} pieces.",
    "{he} should never [climb|open|paint] a [x:roof|window|door] in a storm, because a {x} can break.",
    "The street was full of [water|ice|mud|leaves].",
];

const FARM: Scene = &[
    "[{A} lived on a farm near {P} with {few} cows|A farmer near {P} wanted to keep goats|{A} bought a farm, a horse and {few} hens].",
    "Every morning, {he} fed the [hens|pigs|goats] and [cleaned|opened] the barn.",
    "The [brown|white|black] [cow|goat|horse] never [slept|stood|stayed] near the [dog|cat|fence].",
    "A [fox|wolf|snake] crept [quietly|slowly|silently] through the [grass|trees|leaves].",
    "\"The [horse|cow|goat] is [older|stronger|faster] than the farmer,\" said {B}.",
    "{his} {kin} asked, \"Which [animal|horse|dog] is yours?\"",
    "The [x:dog|goat|pig] followed {A}, and {A} followed the {x}.",
    "A herd of [cows|goats|horses] ran across the field to the river.",
    "{he} wanted to [sell|buy|keep] the [hens|pigs|cows], but the price was too low.",
    "In {month}, {A} sold {number} [goats|horses|hens] for {number} dollars.",
    "The [mouse|rabbit|bird] did not [run|move|sleep], not even when the [cat|fox|dog] came.",
    "The fox ran, the dog ran, and the [hens|goats|cows] ran to the barn.",
    "{A} was proud of the [horses|dogs|cows].",
    "The [horse|cow|dog] injured its [leg|knee|foot] near the [bridge|barn].",
];

const CONCERT: Scene = &[
    "[On {day}, {A} played the violin in {P}|{A} wanted to play the piano in a church|Musicians from {P} came to the school|{A} learned to play the flute].",
    "The sound of [drums|trumpets|violins] filled the [church|school|library].",
    "{B} sang a [sad|happy|slow] song [softly|loudly|beautifully], and {A} listened.",
    "{A} wore a [red|black|blue] [dress|shirt|jacket] and [white|black|brown] shoes.",
    "\"The [violin|flute|guitar] is [older|louder|better] than the piano,\" said the teacher.",
    "The [x:song|tune|melody] was [longer|shorter] than the {x} from {Q}.",
    "Who could [play|carry|repair] the [guitar|drum|trumpet]?",
    "Nobody in the room [laughed|moved|whispered], and {A} felt [nervous|proud|calm].",
    "{his} fingers moved [quickly|gently|slowly] across the [guitar|piano|violin].",
    "The price of [guitars|violins|tickets] was {number} [dollars|euros].",
    "{his} {kin} did not [like|hear|understand] the music, but {his} {kin} smiled [proudly|happily].",
    "After {few} songs, the [musician|singer] was [tired|happy|proud].",
    "A [grey|white|brown] [cat|bird|dog] sat near the [drums|piano] and never moved.",
];

const SCHOOL: Scene = &[
    "[{A} was a teacher at a small school in {P}|The children of {P} walked to school in {month}|{A} began to teach in {P} in {month}].",
    "In {month}, the [children|pupils|students] learned to [count|read|write|draw].",
    "{A} asked, \"What is the name of the [river|city|king]?\"",
    "{B} [answered|whispered|shouted], \"The answer is {number}.\"",
    "{A} wrote {number} words on the [black|green|white] board.",
    "The [pupils|children] could not [answer|remember|count], so {A} [explained|repeated] the [lesson|story] [slowly|patiently|clearly].",
    "The [youngest|oldest|tallest] pupil was [faster|better|quieter] than the teacher.",
    "{B} forgot a [coat|hat|scarf] in the [library|kitchen|school].",
    "How did the [mouse|bird|frog|cat] come into the school?",
    "The pupils learned to play the [flute|drum|guitar|trumpet], but the [flute|drum|guitar|trumpet] was old.",
    "A [yellow|red|blue|green] [bird|butterfly|frog] sat on the window, and the children laughed [happily|loudly].",
    "On {day}, {number} [children|pupils] walked to the [library|museum|river].",
    "{his} {kin} and {his} {kin} were teachers, too.",
    "Every pupil must [read|write|learn] a [x:story|poem], and nobody [liked|understood|repeated] the {x}.",
];

const ILLNESS: Scene = &[
    "[In {month}, {A} was ill and went to a doctor in {P}|{A} ran to find a doctor|The nurse washed {A} with cold water].",
    "{his} [head|knee|neck|shoulder] and {his} [arm|leg|foot|ankle] were [painful|red|hot|weak].",
    "The doctor looked at {his} [eyes|ears|teeth|hands] [carefully|closely|patiently].",
    "The nurse asked, \"Does your [knee|arm|neck|elbow] feel [worse|better|stronger]?\"",
    "\"You must not [run|swim|climb|drive] before {day},\" said the doctor.",
    "{A} was [afraid|nervous|sad|worried] and did not [sleep|eat|answer].",
    "The doctor gave {him} {number} [white|yellow|pink] [pills|tablets].",
    "{his} {kin} brought [soup|bread|apples|honey] and a [warm|thick] [scarf|jacket|coat].",
    "By {day}, the [x:arm|leg|knee|hand] was stronger than the other {x}.",
    "The price of the [pills|tablets] was {number} [dollars|euros].",
    "When can {A} [walk|swim|run|travel] again?",
    "A nurse washed {his} [face|hands|feet|arm] with [warm|cold] water.",
    "Slowly, the [fear|sadness|anger] left {his} [face|eyes|heart].",
    "{he} moved a finger, a hand, and then an arm.",
];

const DINNER: Scene = &[
    "[{A} cooked dinner for {his} {kin} and {his} {kin}|On {day}, {A} wanted to cook for {few} guests|The family ate late on {day}].",
    "There was a [bowl of soup|plate of rice|pot of beans], and there was [bread|cheese|salad] for {number} guests.",
    "{his} {kin} came from {Q} with a box of [cakes|eggs|apples].",
    "\"The [soup|pie|cake] is [hotter|better|sweeter] than in {month},\" said {B}.",
    "{his} {kin} did not [eat|like|want] the [beans|onions|cheese].",
    "{B} wanted the [x:cake|pie|salad], but the {x} was on the floor.",
    "Who will [wash|carry|break] the [plates|cups|bowls]?",
    "{A} laughed [loudly|happily|softly] and kissed {his} [mother|grandmother|daughter|niece].",
    "A [black|white|grey|brown] [cat|dog|mouse] ran under the table.",
    "After dinner, {B} played the [guitar|flute|violin|piano] and sang a song.",
    "The family talked about [money|weather|music|horses] until midnight.",
    "{his} {kin} was [older|taller|quieter] than {his} {kin}, but never [angry|sad|late].",
    "Nobody remembered the name of the [aunt|cousin|uncle] in {P}.",
    "{few} [cousins|sisters|brothers] sat [quietly|calmly|happily] in the kitchen.",
    "\"I will not [cook|dance|sing] on {day},\" [said|shouted|whispered] {A}.",
];

const LETTER: Scene = &[
    "[{A} wrote a sad letter to {his} {kin} in {Q}|{A} began to write a long letter|A happy letter came from {P} on {day}].",
    "The letter began, \"Dear {B}, I am [sad|happy|lonely|afraid] in {P}.\"",
    "{he} wanted to tell the truth, but {he} could not [find|write|choose] the words.",
    "The [joy|grief|anger|fear] of {his} [father|mother|sister|brother] was in every line.",
    "In {month}, {B} asked, \"Why do you never [write|answer|visit]?\"",
    "{A} folded the [blue|white|yellow|grey] paper [slowly|carefully|neatly].",
    "The answer came on {day}, {few} weeks after the letter.",
    "{B} was [angrier|happier|sadder|calmer] than in {month}.",
    "A letter from {P} was [longer|shorter] than a letter from {Q}.",
    "{A} cried [quietly|softly], and {his} [hands|eyes|fingers] were cold.",
    "Where was the [envelope|stamp|paper]?",
    "{his} {kin} sent {number} [flowers|roses|tulips] to the hotel.",
    "In {Q}, nobody waited for {A}, and nobody [asked|answered|called].",
];

const SHOP: Scene = &[
    "[{A} opened a shop for hats in {P} in {month}|A tailor from {P} opened a shop for shoes|{A} went to {P} to buy a coat].",
    "A [green|purple|red] [hat|scarf|skirt] hung near a [yellow|white|blue] [coat|shirt|dress].",
    "The [cheapest|best|largest] [coat|jacket] was {number} [dollars|euros].",
    "{B} wanted to [buy|wear|sell] a pair of [gloves|boots|socks|shoes].",
    "A [sailor|farmer|nurse] asked, \"Do you have a [warmer|longer|larger] [shirt|jacket|coat]?\"",
    "\"The [x:scarf|hat|skirt] is cheaper than the {x} in the window,\" {A} [explained|answered|replied].",
    "{he} did not [sell|like|wear] [red|purple|pink] [socks|gloves|shoes].",
    "{his} {kin} counted the coins [quickly|nervously|quietly].",
    "How much money did {A} [earn|need|spend]?",
    "It was [cold|windy|rainy], and everybody needed [gloves|boots|scarves].",
    "A rich [doctor|singer|farmer] paid for {number} [hats|dresses|coats] and left.",
    "The [tailor|painter|baker] bought a [blue|grey|black] [jacket|shirt] for {A}'s {kin}.",
    "Nobody could [find|see] the [white|brown] [gloves|socks|shoes], not even {B}.",
];

const GARDEN: Scene = &[
    "[{A} planted roses in a garden near {P}|The garden behind the church was full of trees|{A} and {his} {kin} planted tulips].",
    "In {month}, the [roses|tulips|flowers] were [red|white|yellow|pink|purple].",
    "The [oak|willow|pine|maple] was [taller|older] than the [house|church|school|barn].",
    "A [rabbit|goat|snail|mouse] ate the [tulips|grass|leaves|roses] in {few} days.",
    "{he} never [watered|touched|sold] the [roses|tulips|flowers].",
    "\"The [grass|garden] needs [rain|sunshine|water],\" said {his} {kin}.",
    "[Rain|Sunshine|Snow] came on {day}, and the [grass|oak|maple] grew [quickly|slowly].",
    "Where did the [bird|rabbit|snake|frog] go?",
    "The [x:oak|pine|maple|willow] near the kitchen was smaller than the {x} near the street.",
    "The smell of [roses|grass|flowers|leaves] filled the [kitchen|house|street].",
    "{A} wanted to [draw|paint|grow] an oak, but the garden was too small.",
    "{B} sat under a [green|tall|dark] [pine|oak|willow] and [sang|slept|smiled].",
    "{A} walked from the [house|barn|cottage] to the [pine|oak|willow] and counted {few} [birds|flowers|butterflies].",
    "{his} [hands|knees|arms] were [brown|red|green], but {he} was [happy|proud|calm].",
];

const BANK: Scene = &[
    "[{A} worked in a bank in {P}|The bank in {P} was older than the church|{A} came to the bank to ask for a loan].",
    "Every {day}, {he} counted the [coins|cash|money] of the bank.",
    "The debt of the [farmer|baker|hotel] was {number} thousand dollars.",
    "\"You must pay the [rent|debt|loan] before {month},\" {A} [said|explained|repeated].",
    "The [farmer|sailor|painter] could not [pay|answer|speak] and looked at the floor [sadly|nervously|silently].",
    "{B} asked, \"How much [money|cash] would you [need|lend|want]?\"",
    "A loan was [cheaper|larger|smaller] in {month} than in {month}.",
    "{A} did not [lend|trust|pay] [sailors|painters|strangers].",
    "The [x:loan|debt|rent|price] was [higher|lower] than the {x} in {Q}.",
    "{his} salary was half of the rent.",
    "A stranger in a [black|grey] [coat|jacket|hat] came through the door, and nobody [moved|shouted|spoke].",
    "{A} drove home in a [small|blue|red|grey] car.",
    "{his} {kin} never [trusted|liked|understood] money.",
    "It was not the first [loan|debt], and not the largest.",
];

const SEA: Scene = &[
    "[{A} was a sailor on a ship from {P}|The captain of the ship came from {P}|An old sailor told {A} about a storm|{A} learned to sail in {P}].",
    "The [ship|boat|ferry] left {P} on {day} with {number} [sailors|boxes|horses].",
    "\"Never [swim|sail|sleep] in [fog|rain|wind],\" [said|shouted|repeated] the captain.",
    "The [white|black|red] [boat|ship] was faster than the [grey|blue|green] [ferry|ship].",
    "The fog was thicker than [smoke|milk].",
    "{A} swam [slowly|bravely] to a [small|green|dark] island, and a dog swam behind {him}.",
    "What did the [captain|sailor] [see|hear|find] in the fog?",
    "A [whale|dolphin|seal] followed the ship for {few} [hours|days].",
    "{his} [hair|hands|face|feet] smelled of [salt|oil|rain].",
    "{he} wanted to [return|sail|travel] to {Q} before {month}.",
    "The captain never [laughed|smiled|cried], but {he} sang in [storms|fog|rain].",
    "The [wind|rain|storm] did not stop, and the [sailors|dogs|birds] were afraid.",
    "At night, {A} played the [guitar|flute|drum] and thought of {his} {kin}.",
    "Would the ship [arrive|return|sail] in {month}?",
];

/// In the present tense and without names, so that there is text on which the rules about those are silent.
const ADVICE: Scene = &[
    "Every [farmer|sailor|baker] needs money, but nobody can eat coins.",
    "A [dog|horse|cat] is a better friend than a king.",
    "You must [eat|sleep|rest] when you are tired.",
    "Fear is a [small|cold|quiet] [wolf|mouse|snake].",
    "Money is not joy, and joy is not money.",
    "How many [stars|leaves|birds] can a child count?",
    "The [oak|pine|willow] grows [slowly|quietly], but it never sleeps.",
    "A [white|black|grey] [horse|cat|hen] is not a [better|worse|faster] [animal|friend].",
    "Who can [hear|see|paint] the wind?",
    "[Bread|Cheese|Soup] is cheaper than [cake|salad|butter], and [rice|bread] is cheaper than both.",
    "A [teacher|mother|doctor] would say, \"Never [speak|run|drive] when you are [angry|sad|worried].\"",
    "Rain is [colder|stronger] than wine, and snow is [colder|whiter] than milk.",
    "To [learn|forget|wait] is [harder|better] than to [teach|remember|sleep].",
    "A [rich|proud|lonely] [king|captain|sailor] wants to [live|sing|travel], but who will listen?",
];
