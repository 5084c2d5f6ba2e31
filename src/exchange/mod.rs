//! Other people's files in, other people's files out.
//!
//! Every format is read into, and written from, the rows of one unit ([`unit::UnitData`]); what the tables hold is decided once.

pub mod unit;
