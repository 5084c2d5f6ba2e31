//! Finding the rules of a neuron in its records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Pattern, Rule, Slot};
use crate::explanations::evidence::{Evidence, EvidenceRecord, block_max};

/// Tokens before the activating one that a rule may look at.
const MAX_CONTEXT: usize = 4;
/// Rules at most before those that differ in one place are joined.
const MAX_RULES: usize = 32;
/// Conditions of one rule at most.
const MAX_CONDITIONS: usize = 3;
/// A rule must explain at least this share of the sum of squared activations.
const MIN_SHARE: f64 = 0.005;
/// … and its mean activation must reach this, on the scale of 10.
const MIN_VALUE: f64 = 1.5;
/// A further condition must raise what the rule explains by this factor: one on the token before or at the end; and one on a
/// token farther off or on a class of tokens, of which there are more that go with the firings by chance.
const MIN_RISE: [f64; 2] = [1.15, 1.4];
/// … and must have held at this many firings,
const MIN_FIRINGS: [usize; 2] = [2, 3];
/// where a firing reaches this, on the scale of 10.
const FIRING: f64 = 3.0;
/// Places before the end from which a token is far off.
const FAR: usize = 2;
/// A rule for any token must have been seen to fire on this many different ones: after the token before it, and after one
/// farther off.
const MIN_TOKENS: [usize; 2] = [3, 6];
/// What a rule is worth for each token far off, against one without.
const FAR_WORTH: f64 = 0.9;
/// Tokens from which rules are grown, in each round.
const BEAM: usize = 24;
/// Rules are joined when their values differ by no more than this.
const JOIN_WITHIN: f64 = 3.0;

/// One of some tokens (by number) some places before the activating one; 0 places is that one itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Condition {
    back: usize,
    tokens: BTreeSet<u32>,
}

/// One token with what stands before it.
struct Place {
    /// The token and those before it, nearest first; fewer at the start of a window.
    tokens: Vec<u32>,
    /// Activation, 0..10.
    value: f64,
}

impl Place {
    fn meets(&self, condition: &Condition) -> bool {
        self.tokens.get(condition.back).is_some_and(|token| condition.tokens.contains(token))
    }
}

/// The rules of a neuron with their values; [`super::learn`] says how they are found.
///
/// # Errors
/// Why there is no pattern.
pub(super) fn pattern(evidence: &Evidence) -> Result<Pattern, String> {
    if let Some(fault) = evidence.fault() {
        return Err(fault);
    }
    let max = f64::from(block_max(&evidence.records));
    let mut names: Vec<&str> = Vec::new();
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut places = Vec::new();
    for record in evidence.records.iter().chain(&evidence.quiet) {
        let window: Vec<u32> = record
            .tokens
            .iter()
            .map(|token| {
                *numbers.entry(token).or_insert_with(|| {
                    names.push(token);
                    (names.len() - 1) as u32
                })
            })
            .collect();
        for (at, activation) in record.activations.iter().enumerate() {
            let tokens = window[..=at].iter().rev().take(MAX_CONTEXT + 1).copied().collect();
            places.push(Place { tokens, value: (10.0 * f64::from(*activation).max(0.0) / max).min(10.0) });
        }
    }
    let rules = joined(conjunctions(&places));
    if rules.is_empty() {
        return Err("no token or context goes with its activations".to_owned());
    }
    let rules = rules.into_iter().map(|slots| named(&slots, &names)).collect();
    Ok(with_values(Pattern { rules, elsewhere: 0.0 }, evidence, max))
}

/// A rule as sets of tokens at places before the end, and its mean activation when it was found.
struct Found {
    slots: BTreeMap<usize, BTreeSet<u32>>,
    value: f64,
}

/// Rules in the order of what they explain.
fn conjunctions(places: &[Place]) -> Vec<Found> {
    let total: f64 = places.iter().map(|place| place.value * place.value).sum();
    let mut left: Vec<&Place> = places.iter().collect();
    let mut found = Vec::new();
    while found.len() < MAX_RULES {
        let Some((conditions, fit)) = best(&left) else { break };
        if fit.explains() < MIN_SHARE * total || fit.mean() < MIN_VALUE {
            break;
        }
        left.retain(|place| !conditions.iter().all(|condition| place.meets(condition)));
        let slots = conditions.into_iter().map(|condition| (condition.back, condition.tokens)).collect();
        found.push(Found { slots, value: fit.mean() });
    }
    found
}

/// What is known of the places that meet some conditions.
#[derive(Clone, Copy, Default)]
struct Fit {
    n: usize,
    sum: f64,
    n_firings: usize,
}

impl Fit {
    fn add(&mut self, place: &Place) {
        self.n += 1;
        self.sum += place.value;
        self.n_firings += usize::from(place.value >= FIRING);
    }

    fn join(&mut self, other: &Self) {
        self.n += other.n;
        self.sum += other.sum;
        self.n_firings += other.n_firings;
    }

    fn mean(&self) -> f64 {
        self.sum / self.n.max(1) as f64
    }

    /// By how much less the squared error is than with 0 everywhere.
    fn explains(&self) -> f64 {
        self.sum * self.mean()
    }
}

/// The conditions that explain most of these places together.
fn best(places: &[&Place]) -> Option<(Vec<Condition>, Fit)> {
    let mut starts: Vec<((usize, u32), Fit)> = fits(places, &[]).into_iter().collect();
    // Ties go to the nearer token, then to the one seen first.
    starts.sort_by(|a, b| b.1.explains().total_cmp(&a.1.explains()).then(a.0.cmp(&b.0)));
    let mut best: Option<(f64, Vec<Condition>, Fit)> = None;
    for ((back, token), fit) in starts.into_iter().take(BEAM) {
        let start = Condition { back, tokens: BTreeSet::from([token]) };
        let Some((conditions, fit)) = grown(places, start, fit) else { continue };
        let n_far = conditions.iter().filter(|condition| condition.back >= FAR).count();
        let worth = fit.explains() * FAR_WORTH.powi(n_far as i32);
        // The same rule may have grown from several starts; of rules that are worth the same the nearer one is taken.
        let better = best.as_ref().is_none_or(|(so_far, others, _)| {
            worth > so_far * (1.0 + 1e-9) || (worth >= so_far * (1.0 - 1e-9) && conditions < *others)
        });
        if better {
            best = Some((worth, conditions, fit));
        }
    }
    best.map(|(_, conditions, fit)| (conditions, fit))
}

/// A rule grown from one condition while that pays; `None` for one that must not stand.
fn grown(places: &[&Place], start: Condition, fit: Fit) -> Option<(Vec<Condition>, Fit)> {
    let mut fit = fit;
    let mut matching: Vec<&Place> = places.iter().copied().filter(|place| place.meets(&start)).collect();
    let mut conditions = vec![start];
    while conditions.len() < MAX_CONDITIONS {
        let Some((condition, next)) = further(&matching, &conditions, &fit) else { break };
        matching.retain(|place| place.meets(&condition));
        conditions.push(condition);
        fit = next;
    }
    pruned(places, &mut conditions, &mut fit);
    matching =
        places.iter().copied().filter(|place| conditions.iter().all(|condition| place.meets(condition))).collect();
    let names_last = conditions.iter().any(|condition| condition.back == 0);
    let names_far = conditions.iter().any(|condition| condition.back >= FAR);
    let fired: BTreeSet<u32> = matching
        .iter()
        .filter(|place| place.value >= FIRING)
        .filter_map(|place| place.tokens.first().copied())
        .collect();
    let least = MIN_TOKENS[usize::from(names_far)];
    (names_last || fired.len() >= least).then_some((conditions, fit))
}

/// Drops tokens of the context, the farthest first, without which a rule explains no less.
fn pruned(places: &[&Place], conditions: &mut Vec<Condition>, fit: &mut Fit) {
    conditions.sort();
    for at in (0..conditions.len()).rev() {
        // The activating token stays, as in the paper: what any token does there is claimed only where it was never named.
        if conditions.len() == 1 || conditions[at].back == 0 {
            break;
        }
        let mut without = Fit::default();
        let others = || conditions.iter().enumerate().filter(|(other, _)| *other != at);
        for place in places.iter().filter(|place| others().all(|(_, condition)| place.meets(condition))) {
            without.add(place);
        }
        if without.explains() >= fit.explains() {
            conditions.remove(at);
            *fit = without;
        }
    }
}

/// The condition that makes a rule explain most, if one makes it explain clearly more: a token, or all tokens at a near place
/// with which it fires.
fn further(matching: &[&Place], taken: &[Condition], fit: &Fit) -> Option<(Condition, Fit)> {
    let fits = fits(matching, taken);
    let mut classes: [(BTreeSet<u32>, Fit); FAR] = Default::default();
    let mut found: Vec<(Condition, Fit)> = Vec::new();
    for ((back, token), one) in fits {
        let far = usize::from(back >= FAR);
        if one.n_firings >= MIN_FIRINGS[far] && one.explains() >= MIN_RISE[far] * fit.explains() {
            found.push((Condition { back, tokens: BTreeSet::from([token]) }, one));
        }
        // A token of the context must have shown itself twice; the last one is what differs from case to case.
        if back < FAR && one.mean() >= FIRING && one.n_firings >= [1, MIN_FIRINGS[0]][back.min(1)] {
            classes[back].0.insert(token);
            classes[back].1.join(&one);
        }
    }
    // A class after a token far off is nearly always chance: it remembers single places.
    let far_off = taken.iter().any(|condition| condition.back >= FAR);
    for (back, (tokens, class)) in classes.into_iter().enumerate().filter(|_| !far_off) {
        if tokens.len() > 1 && class.n_firings >= MIN_FIRINGS[1] && class.explains() >= MIN_RISE[1] * fit.explains() {
            found.push((Condition { back, tokens }, class));
        }
    }
    found.into_iter().max_by(|a, b| a.1.explains().total_cmp(&b.1.explains()).then_with(|| b.0.cmp(&a.0)))
}

/// Every token that stands at some place, but for places before the end that have a condition already.
///
/// In order, because sums of floats depend on theirs.
fn fits(places: &[&Place], taken: &[Condition]) -> BTreeMap<(usize, u32), Fit> {
    let mut fits: BTreeMap<(usize, u32), Fit> = BTreeMap::new();
    for place in places {
        for (back, token) in place.tokens.iter().enumerate() {
            if !taken.iter().any(|other| other.back == back) {
                fits.entry((back, *token)).or_default().add(place);
            }
        }
    }
    fits
}

/// Rules with those joined that differ in the tokens of one place and are about as strong.
fn joined(rules: Vec<Found>) -> Vec<BTreeMap<usize, BTreeSet<u32>>> {
    let mut joined: Vec<Found> = Vec::new();
    for rule in rules {
        let partner = joined.iter_mut().find_map(|other| {
            let same_places = other.slots.keys().eq(rule.slots.keys());
            let differing: Vec<usize> = rule
                .slots
                .iter()
                .filter(|(back, tokens)| other.slots.get(back) != Some(tokens))
                .map(|(back, _)| *back)
                .collect();
            match differing[..] {
                [back] if same_places && (other.value - rule.value).abs() <= JOIN_WITHIN => Some((other, back)),
                _ => None,
            }
        });
        match partner {
            Some((other, back)) => {
                let tokens = rule.slots.get(&back).cloned().unwrap_or_default();
                other.slots.entry(back).or_default().extend(tokens);
            }
            None => joined.push(rule),
        }
    }
    joined.into_iter().map(|rule| rule.slots).collect()
}

/// A rule with the tokens' texts, in reading order.
fn named(slots: &BTreeMap<usize, BTreeSet<u32>>, names: &[&str]) -> Rule {
    let slot = |back: usize| match slots.get(&back) {
        Some(tokens) => Slot::OneOf(tokens.iter().map(|token| names[*token as usize].to_owned()).collect()),
        None => Slot::Any,
    };
    let length = slots.keys().max().copied().unwrap_or(0);
    Rule { context: (1..=length).rev().map(slot).collect(), last: slot(0), value: 0.0 }
}

/// The pattern with the mean activation of each rule where it is the first to fit; rules that never are go.
fn with_values(mut pattern: Pattern, evidence: &Evidence, max: f64) -> Pattern {
    let mut of_rules = vec![Fit::default(); pattern.rules.len()];
    let mut elsewhere = Fit::default();
    let records: Vec<&EvidenceRecord> = evidence.records.iter().chain(&evidence.quiet).collect();
    for record in records {
        for (at, activation) in record.activations.iter().enumerate() {
            let fit = match pattern.rule_at(&record.tokens, at) {
                Some(rule) => &mut of_rules[rule],
                None => &mut elsewhere,
            };
            let value = (10.0 * f64::from(*activation).max(0.0) / max).min(10.0);
            fit.add(&Place { tokens: Vec::new(), value });
        }
    }
    for (rule, fit) in pattern.rules.iter_mut().zip(&of_rules) {
        rule.value = tenths(fit.mean());
    }
    let mut fits = of_rules.iter();
    pattern.rules.retain(|_| fits.next().is_some_and(|fit| fit.n > 0));
    pattern.elsewhere = tenths(elsewhere.mean());
    pattern
}

/// A value as the text will have it, so that a pattern and its text say the same.
fn tenths(value: f64) -> f32 {
    (10.0 * value).round() as f32 / 10.0
}
