//! Pages: pieces of long lists, each with the address of the next.

use arrow::array::RecordBatch;

use crate::pipeline::queries::Parameter;
use crate::server::problem::Problem;

/// Rows of a page at most.
const LONGEST_PAGE: u32 = 1_000;
/// Rows of a ranking that can be left out at most: they are ranked to be left out.
const DEEPEST_RANK: u32 = 100_000;

/// A piece of a list. One row more is asked for: it tells whether there is another piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    limit: u32,
    offset: u32,
}

impl Page {
    /// A piece of a list whose query leaves out rows itself.
    pub(super) fn new(limit: u32, offset: u32) -> Result<Self, Problem> {
        match (1..=LONGEST_PAGE).contains(&limit) {
            true => Ok(Self { limit, offset }),
            false => Err(Problem::argument(format!("limit: expected 1 to {LONGEST_PAGE}, got {limit}"))),
        }
    }

    /// A piece of the best rows of a query that knows only how many they are.
    pub(super) fn of_ranking(limit: u32, offset: u32) -> Result<Self, Problem> {
        match offset <= DEEPEST_RANK {
            true => Self::new(limit, offset),
            false => Err(Problem::argument(format!("offset: expected at most {DEEPEST_RANK}, got {offset}"))),
        }
    }

    pub(super) fn values(self) -> [(&'static str, Parameter); 2] {
        [("limit", Parameter::Integer(i64::from(self.limit) + 1)), ("offset", Parameter::Integer(self.offset.into()))]
    }

    /// How many of the best rows are asked for.
    pub(super) fn top(self) -> (&'static str, Parameter) {
        ("top", Parameter::Integer(i64::from(self.offset) + i64::from(self.limit) + 1))
    }

    /// The rows of a ranking from this piece on.
    pub(super) fn after_offset(self, batches: &[RecordBatch]) -> Vec<RecordBatch> {
        let mut left = self.offset as usize;
        let mut kept = Vec::new();
        for batch in batches {
            let leave = left.min(batch.num_rows());
            kept.push(batch.slice(leave, batch.num_rows() - leave));
            left -= leave;
        }
        kept
    }

    /// The rows of this piece, without the one that was asked for beyond it.
    pub(super) fn cut(self, batches: &[RecordBatch]) -> Vec<RecordBatch> {
        let mut left = self.limit as usize;
        let mut kept = Vec::new();
        for batch in batches {
            let take = left.min(batch.num_rows());
            kept.push(batch.slice(0, take));
            left -= take;
        }
        kept
    }

    /// Where the next piece is, with the other fields of the query; `None` when this one is the last.
    pub(super) fn next(self, path: &str, others: &[(&str, Option<String>)], batches: &[RecordBatch]) -> Option<String> {
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if found <= self.limit as usize {
            return None;
        }
        let mut fields = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in others {
            if let Some(value) = value {
                fields.append_pair(name, value);
            }
        }
        fields.append_pair("limit", &self.limit.to_string());
        fields.append_pair("offset", &(u64::from(self.offset) + u64::from(self.limit)).to_string());
        Some(format!("{path}?{}", fields.finish()))
    }
}
