//! Activations of one hook point on disk, token by token: written by one pass of the model, brought into one random order, read
//! in sequence by whoever trains on them.
//!
//! A store is a folder `_activation_rows/<name>/` inside the lake:
//!
//! - `store.json` says what is in it ([`manifest`]);
//! - `rows/*.parquet` ([`parts`]) hold one row a token in the order of the token sequences: `sequence`, `position`, and
//!   `activations`, `width` little-endian values in one binary of fixed size, because lists decode ten times slower;
//! - `shuffled-<seed>/*.parquet` hold the same rows in one exact random order ([`shuffle`]).
//!
//! Every file appears whole, by a rename, and says in its own footer how far the pass had come; what a kill costs is one file. A cursor
//! (epoch, file, row) is all that a reader ([`rows`]) needs to go on.

pub mod ingest;
pub mod manifest;
pub mod parts;
pub mod rows;
pub mod shuffle;
pub mod statistics;

#[cfg(test)]
mod tests;
