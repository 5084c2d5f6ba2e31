//! Scorers that do not simulate: a judge tells windows apart by an explanation.
//!
//! [`judge`] names the judges and is the way in. `windows` turns a window into one line of text with its active tokens marked,
//! `prompts` holds what a language model is asked, `answers` reads what it answers, `ask` makes the calls; `classify` (detection
//! and fuzzing), `intruder`, `embedding` and `surprisal` are the judges. The numbers over many judgements are made by
//! `scores::classification`; docs/scorers.md describes all of it.

pub mod judge;

mod answers;
mod ask;
mod classify;
mod embedding;
mod intruder;
mod prompts;
mod surprisal;
mod windows;

#[cfg(test)]
mod tests;
