//! neuronlake: automated interpretability as tables and SQL.
//!
//! Data flows through the modules in this order: texts are read ([`documents`]) and cut into windows of tokens
//! ([`token_sequences`]); a subject model ([`models`]) runs over them once, and statistics of every unit ([`neurons`]) and its
//! chosen windows ([`activation_records`]) are kept; an explainer, with or without a language model ([`completions`]), writes what
//! each unit responds to ([`explanations`]); a simulator, with a language model or with texts as vectors ([`embeddings`]), says
//! what each explanation leads one to expect ([`simulations`]), or a judge tells windows apart by it ([`judgements`]), and that
//! is compared with what the unit did ([`scores`]).
//!
//! Every result is a Delta table ([`tables`]), every stage an SQL file over our functions ([`functions`]) that the engine
//! ([`session`]) runs in order ([`pipeline`]), by hand or at its times ([`schedule`]), here or on many machines ([`distributed`]). People
//! meet it on the command line ([`cli`]).

pub mod error;
mod hash;
pub mod metrics;
mod random;

pub mod documents;
pub mod token_sequences;

pub mod models;

pub mod neurons;

pub mod activation_records;

pub mod completions;

pub mod embeddings;

pub mod explanations;

pub mod simulations;

pub mod judgements;

pub mod planted;

pub mod scores;

pub mod tables;

pub mod search;

pub mod functions;
pub mod session;

pub mod distributed;

pub mod pipeline;

pub mod activation_store;
pub mod autoencoders;
pub mod schedule;

pub mod exchange;

pub mod docs;

pub mod server;

pub mod cli;

pub use error::{Error, Result};
