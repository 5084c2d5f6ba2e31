//! Rows that autoencoders are trained on: of one store, or, for transcoders, of two whose rows are of the same tokens in the same order.
//!
//! That they are is checked twice: the stores' settings before anything is read, and the token of every row as it is read.

use sparse_autoencoders::source::ActivationSource;
use sparse_autoencoders::training::trainer::Batch;

use crate::activation_store::manifest::{Contents, Manifest, StoreFolder};
use crate::activation_store::rows::ShuffledRows;
use crate::error::Result;
use crate::error::autoencoder::AutoencoderError;

/// One shuffled store, or two side by side.
#[derive(Debug)]
pub(super) struct Pairs {
    inputs: Side,
    targets: Option<Side>,
}

/// A store, and what was read of it last.
#[derive(Debug)]
struct Side {
    name: String,
    rows: ShuffledRows,
    values: Vec<f32>,
    keys: Vec<(i64, i32)>,
    /// Of one file, before it is added to `values`.
    part: (Vec<f32>, Vec<(i64, i32)>),
}

impl Side {
    fn open(store: &StoreFolder, seed: u64) -> Result<Self> {
        let (name, rows) = (store.name().to_owned(), ShuffledRows::open(store, seed)?);
        Ok(Self { name, rows, values: Vec::new(), keys: Vec::new(), part: Default::default() })
    }

    /// Rows from `first` on, counted through all readings of the store: behind its last row comes its first.
    fn read(&mut self, first: u64, n: usize) -> Result<()> {
        let n_rows = self.rows.n_rows();
        self.values.clear();
        self.keys.clear();
        let (mut from, mut missing) = (first % n_rows, n);
        while missing > 0 {
            let some = missing.min((n_rows - from) as usize);
            let (values, keys) = &mut self.part;
            self.rows.read_keyed(from, some, values, keys)?;
            self.values.extend_from_slice(values);
            self.keys.extend_from_slice(keys);
            missing -= some;
            from = 0;
        }
        Ok(())
    }
}

impl Pairs {
    /// Opens the order of a seed.
    ///
    /// # Errors
    /// As [`ShuffledRows::open`]; [`AutoencoderError::StoresDiffer`].
    pub(super) fn open(inputs: &StoreFolder, targets: Option<&StoreFolder>, seed: u64) -> Result<Self> {
        let inputs = Side::open(inputs, seed)?;
        let targets = targets.map(|store| Side::open(store, seed)).transpose()?;
        if let Some(targets) = &targets {
            same(&inputs, targets)?;
        }
        Ok(Self { inputs, targets })
    }

    /// What the store of the inputs says of itself.
    pub(super) fn manifest(&self) -> &Manifest {
        self.inputs.rows.manifest()
    }

    /// What the store of the targets says of itself, where there are two.
    pub(super) fn target_manifest(&self) -> Option<&Manifest> {
        self.targets.as_ref().map(|targets| targets.rows.manifest())
    }

    /// Rows of a reading.
    pub(super) fn n_rows(&self) -> u64 {
        self.inputs.rows.n_rows()
    }

    /// Rows from `first` on, counted through all readings.
    ///
    /// # Errors
    /// What reading reports; [`AutoencoderError::StoresDiffer`] for rows of different tokens.
    pub(super) fn read(&mut self, first: u64, n: usize) -> Result<Batch<'_>> {
        self.inputs.read(first, n)?;
        let Some(targets) = &mut self.targets else { return Ok(Batch::of(&self.inputs.values)) };
        targets.read(first, n)?;
        let mut keys = self.inputs.keys.iter().zip(&targets.keys);
        if let Some(row) = keys.position(|(input, target)| input != target) {
            let token = |(sequence, position): (i64, i32)| format!("token {position} of token sequence {sequence}");
            let what = format!("in row {}", (first + row as u64) % self.inputs.rows.n_rows());
            let (expected, got) = (token(self.inputs.keys[row]), token(targets.keys[row]));
            return Err(differ(&self.inputs.name, &targets.name, &what, &expected, got).into());
        }
        Ok(Batch { inputs: &self.inputs.values, targets: &targets.values })
    }
}

fn differ(inputs: &str, targets: &str, what: &str, expected: &str, got: String) -> AutoencoderError {
    AutoencoderError::StoresDiffer {
        inputs: inputs.to_owned(),
        targets: targets.to_owned(),
        expected: format!("{what} {expected}"),
        got,
    }
}

/// Refuses two stores that cannot have the same rows. The order of a seed follows from the number of a row alone.
fn same(inputs: &Side, targets: &Side) -> Result<()> {
    let (one, other) = (inputs.rows.manifest(), targets.rows.manifest());
    let version = |contents: &Contents| contents.token_sequences.map_or("none".to_owned(), |number| number.to_string());
    let rows = |manifest: &Manifest| {
        format!("{} and {} left out", manifest.n_rows.unwrap_or_default(), manifest.n_dropped.unwrap_or_default())
    };
    let settings = |contents: &Contents| {
        [
            ("model", contents.model.clone()),
            ("weights", contents.weights_hash.clone()),
            ("corpus", contents.corpus.clone()),
            ("splits", contents.splits.join(",")),
            ("first token", contents.first_token.clone()),
        ]
    };
    let pairs = settings(&one.contents).into_iter().zip(settings(&other.contents));
    let settings = pairs.map(|((what, expected), (_, got))| (what, expected, got));
    let counts = [
        ("token_sequences version", version(&one.contents), version(&other.contents)),
        ("rows", rows(one), rows(other)),
    ];
    match settings.chain(counts).find(|(_, expected, got)| expected != got) {
        Some((what, expected, got)) => Err(differ(&inputs.name, &targets.name, what, &expected, got).into()),
        None => Ok(()),
    }
}
