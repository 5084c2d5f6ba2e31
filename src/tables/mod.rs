//! Tables: what they are, how batches are checked, how they are stored as Delta tables and shown to the engine.

pub mod catalog;
pub mod check;
pub mod definition;
pub(crate) mod files;
pub mod lake;
pub mod runs;
pub mod store;
pub mod writer;
