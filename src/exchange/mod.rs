//! Other people's files in, other people's files out.
//!
//! Every format is read into, and written from, the rows of one unit ([`unit::UnitData`]); what the tables hold is decided once.
//! An [`importer`](importer::Importer) says which parts its source has and reads one at a time from a [`source`]; an
//! [`exporter`](exporter::Exporter) takes units one by one and writes through [`output`]. Both count into a [`report`].

pub mod unit;

pub mod fault;
pub mod report;

pub mod source;

pub mod known;

mod truths;

mod columns;
mod judged_columns;
mod rows;

pub mod importer;

mod lake_writer;

pub mod import;

pub mod output;

pub mod exporter;

pub mod lake_reader;

pub mod export;

pub mod openai;

pub mod tabular;

pub(crate) mod extra;
pub(crate) mod lines;
pub(crate) mod loose_json;
pub(crate) mod pump;

pub mod delphi;
pub mod neuronpedia;
pub mod transluce;
