//! What an import or an export did, counted.

use std::collections::BTreeMap;

use super::fault::Fault;

/// Faults that are kept with their text; more are only counted.
const KEPT_FAULTS: usize = 1_000;

/// Counts of one import or export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Units that rows were written of.
    pub n_units: u64,
    /// Units whose rows were all there already.
    pub n_skipped: u64,
    /// Files read (import) or written (export).
    pub n_files: u64,
    /// Bytes of these files, as stored.
    pub n_bytes: u64,
    /// Rows written, by table (import) or by what they are (export).
    pub rows: BTreeMap<String, u64>,
    /// Files that are not there, by kind.
    pub missing: BTreeMap<String, u64>,
    /// What the format has and the tables have no place for, or the other way round, by what it is.
    pub not_kept: BTreeMap<String, u64>,
    /// Files that could not be read, the first of them with their text.
    pub faults: Vec<Fault>,
    /// Number of all of them.
    pub n_faults: u64,
}

impl Report {
    /// Counts a file that could not be read.
    pub fn add_fault(&mut self, fault: Fault) {
        self.n_faults += 1;
        if self.faults.len() < KEPT_FAULTS {
            self.faults.push(fault);
        }
    }

    /// Adds what another report counted.
    pub fn merge(&mut self, other: Self) {
        self.n_units += other.n_units;
        self.n_skipped += other.n_skipped;
        self.n_files += other.n_files;
        self.n_bytes += other.n_bytes;
        let maps =
            [(&mut self.rows, other.rows), (&mut self.missing, other.missing), (&mut self.not_kept, other.not_kept)];
        for (into, from) in maps {
            for (key, count) in from {
                *into.entry(key).or_default() += count;
            }
        }
        let more = other.n_faults - other.faults.len() as u64;
        other.faults.into_iter().for_each(|fault| self.add_fault(fault));
        self.n_faults += more;
    }

    /// Rows of all tables.
    pub fn n_rows(&self) -> u64 {
        self.rows.values().sum()
    }
}

/// Adds one to a count.
pub fn count(map: &mut BTreeMap<String, u64>, key: &str) {
    match map.get_mut(key) {
        Some(count) => *count += 1,
        None => drop(map.insert(key.to_owned(), 1)),
    }
}
