//! Which part of the corpus a document belongs to: what an explainer may see and what scores are computed on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::random::mix;

/// The part of the corpus that a document, and so each of its token sequences, belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Split {
    /// The explainer may see it.
    Train,
    /// Simulations are calibrated on it.
    Calibration,
    /// Scores are computed on it.
    Valid,
    /// Never touched before publication.
    Test,
    /// Not decided by document: the records get their split from their rank ([`interleave_top`], [`interleave_random`]).
    Pool,
}

impl Split {
    /// Every split, in the order of the enumeration.
    pub const ALL: [Split; 5] = [Split::Train, Split::Calibration, Split::Valid, Split::Test, Split::Pool];

    /// The split's name in tables and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Calibration => "calibration",
            Split::Valid => "valid",
            Split::Test => "test",
            Split::Pool => "pool",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Split::ALL
            .into_iter()
            .find(|split| split.as_str() == name)
            .ok_or_else(|| Error::SplitUnknown { got: name.to_owned() })
    }
}

/// Shares of documents given to train, calibration, valid and test; they add up to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f64; 4]", into = "[f64; 4]")]
pub struct SplitFractions([f64; 4]);

impl SplitFractions {
    /// Takes the shares of train, calibration, valid and test, in that order.
    ///
    /// # Errors
    /// [`Error::SplitFractions`] when one lies outside 0..=1 or their sum is further than 1e-9 from 1.
    pub fn new(fractions: [f64; 4]) -> Result<Self> {
        let within = fractions.iter().all(|fraction| (0.0..=1.0).contains(fraction));
        let sum: f64 = fractions.iter().sum();
        if within && (sum - 1.0).abs() < 1e-9 {
            Ok(Self(fractions))
        } else {
            Err(Error::SplitFractions { got: fractions })
        }
    }
}

impl Default for SplitFractions {
    /// 0.6 train, 0.1 calibration, 0.2 valid, 0.1 test.
    fn default() -> Self {
        Self([0.6, 0.1, 0.2, 0.1])
    }
}

impl TryFrom<[f64; 4]> for SplitFractions {
    type Error = Error;

    fn try_from(fractions: [f64; 4]) -> Result<Self> {
        Self::new(fractions)
    }
}

impl From<SplitFractions> for [f64; 4] {
    fn from(fractions: SplitFractions) -> Self {
        fractions.0
    }
}

/// How documents are divided into splits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum SplitStrategy {
    /// A seeded hash of the document decides, so two windows of one document never stand on both sides.
    Document {
        /// Shares of the four splits.
        fractions: SplitFractions,
        /// Seed of the hash.
        seed: u64,
    },
    /// The paper's strategy (Bills et al. 2023, §2.1 of our specification): half of the documents are `train` and serve
    /// token means only, the other half is a pool whose records get their split from their rank.
    Paper,
}

impl SplitStrategy {
    /// The strategy with this name: `document`, with the default shares, or `paper`, which takes no seed.
    ///
    /// # Errors
    /// [`Error::SplitStrategyUnknown`] for any other name.
    pub fn parse(name: &str, seed: u64) -> Result<Self> {
        match name {
            "document" => Ok(SplitStrategy::Document { fractions: SplitFractions::default(), seed }),
            "paper" => Ok(SplitStrategy::Paper),
            _ => Err(Error::SplitStrategyUnknown { got: name.to_owned() }),
        }
    }

    /// The split of the document with this key.
    ///
    /// The key should be a hash of the document's text (or of corpus and document id): with a hash of the text, copies of
    /// one text fall on one side.
    pub fn split_of_document(&self, document_key: u64) -> Split {
        match self {
            SplitStrategy::Document { fractions, seed } => {
                let draw = uniform(mix(*seed, document_key, 0));
                let mut upper = 0.0;
                for (split, fraction) in Split::ALL.into_iter().zip(fractions.0) {
                    upper += fraction;
                    if draw < upper {
                        return split;
                    }
                }
                // The shares may add up to a hair less than 1, and a share of 0 must stay empty.
                Split::ALL
                    .into_iter()
                    .zip(fractions.0)
                    .rfind(|(_, share)| *share > 0.0)
                    .map_or(Split::Train, |(split, _)| split)
            }
            SplitStrategy::Paper => {
                if uniform(mix(0, document_key, 0)) < 0.5 {
                    Split::Train
                } else {
                    Split::Pool
                }
            }
        }
    }
}

impl Default for SplitStrategy {
    fn default() -> Self {
        SplitStrategy::Document { fractions: SplitFractions::default(), seed: 0 }
    }
}

/// Split of the pool's `top` record of this 0-based rank, with `n_per_split` records in each of four splits; `None` beyond
/// those. Source: Bills et al. 2023 (automated-interpretability `ActivationRecordSliceParams`).
pub fn interleave_top(rank: usize, n_per_split: usize) -> Option<Split> {
    (rank < 4 * n_per_split).then(|| [Split::Train, Split::Calibration, Split::Valid, Split::Test][rank % 4])
}

/// Split of the pool's `random` record of this 0-based rank, with `n_per_split` records in each of calibration, valid and
/// test; `None` beyond those. The train split shows top records only.
pub fn interleave_random(rank: usize, n_per_split: usize) -> Option<Split> {
    (rank < 3 * n_per_split).then(|| [Split::Calibration, Split::Valid, Split::Test][rank % 3])
}

/// 53 of the 64 bits as a number in 0..1.
fn uniform(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
