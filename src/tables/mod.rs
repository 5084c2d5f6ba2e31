//! Tables: what they are, how batches are checked, how they are stored as Delta tables and shown to the engine.

pub(crate) mod bucket;
pub mod catalog;
pub mod check;
pub(crate) mod codec;
pub mod definition;
pub(crate) mod files;
pub(crate) mod kept_columns;
pub mod lake;
pub(crate) mod lease;
pub mod maintenance;
pub(crate) mod nested_text;
pub mod replace;
pub mod runs;
pub(crate) mod scan;
pub mod store;
pub(crate) mod versions;
pub mod writer;
