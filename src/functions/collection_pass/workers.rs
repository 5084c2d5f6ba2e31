//! The forward pass of a collection on workers, by ranges of sequences.
//!
//! What a pass keeps of a unit (running means, boundaries of quantiles, which windows are best) is the same for any batch, because windows
//! are taken in one order; states of two ranges cannot be merged into that of both to the bit. So the workers compute what costs most,
//! the activations, and this process takes them in, range after range, as it takes in its own.

use std::collections::HashMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int64Type};
use datafusion::execution::context::SessionContext;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::literal;
use crate::error::{Error, Result};
use crate::models::hook_points::HookPoint;
use crate::neurons::pass::OwnedWindow;

/// Bytes of activations that a range is cut for.
const RANGE_BYTES: usize = 32 << 20;
/// Ranges that are asked for at the same time: workers are never without one while this process takes the first of them in.
const RANGES_IN_FLIGHT: usize = 16;
/// Bytes of one window at one hook point that can be sent; Ballista's messages hold 16 MiB.
const MESSAGE_BYTES: usize = 12 << 20;

/// Windows and what the model computes over them.
pub(super) struct Computed {
    pub(super) windows: Vec<OwnedWindow>,
    /// One tile a hook point, `[n_tokens, width]`.
    pub(super) tiles: Vec<Vec<f32>>,
}

/// What the workers are asked.
#[derive(Clone)]
pub(super) struct Workers {
    context: SessionContext,
    select: String,
    widths: Vec<usize>,
    at_once: usize,
}

impl Workers {
    /// `None` where a window is too large to be sent. `condition` selects the token sequences; `model` is the model's name in SQL.
    pub(super) fn new(
        context: &SessionContext,
        model: &str,
        condition: &str,
        hooks: &[HookPoint],
        window_tokens: usize,
    ) -> Option<Self> {
        let widths: Vec<usize> = hooks.iter().map(HookPoint::width).collect();
        let bytes = |width: usize| width * window_tokens * size_of::<f32>();
        if widths.iter().any(|width| bytes(*width) > MESSAGE_BYTES) {
            return None;
        }
        let names: Vec<String> = hooks.iter().map(|hook| literal(hook.name())).collect();
        // One row a hook point, so that no row is larger than a message.
        let select = format!(
            "SELECT sequence, unnest(window_activations({}, [{}], token_ids)) AS activations FROM token_sequences WHERE {condition}",
            literal(&at_its_place(model)),
            names.join(", ")
        );
        let at_once = (RANGE_BYTES / bytes(widths.iter().sum()).max(1)).max(1);
        Some(Self { context: context.clone(), select, widths, at_once })
    }

    /// The windows in their order, range by range.
    pub(super) fn compute(
        self,
        windows: BoxStream<'static, Result<Vec<OwnedWindow>>>,
    ) -> BoxStream<'static, Result<Computed>> {
        let at_once = self.at_once;
        let ranges = windows
            .map_ok(move |windows| {
                let ranges: Vec<Vec<OwnedWindow>> = windows.chunks(at_once).map(<[OwnedWindow]>::to_vec).collect();
                stream::iter(ranges).map(Ok)
            })
            .try_flatten();
        ranges
            .map_ok(move |windows| {
                let workers = self.clone();
                async move { workers.range(windows).await }
            })
            .try_buffered(RANGES_IN_FLIGHT)
            .boxed()
    }

    async fn range(self, windows: Vec<OwnedWindow>) -> Result<Computed> {
        let (Some(first), Some(last)) = (windows.first(), windows.last()) else {
            return Ok(Computed { windows, tiles: vec![Vec::new(); self.widths.len()] });
        };
        let sql = format!("{} AND sequence BETWEEN {} AND {}", self.select, first.sequence, last.sequence);
        let batches = self.context.sql(&sql).await?.collect().await?;
        let tiles = tiles(&windows, &self.widths, &batches)?;
        Ok(Computed { windows, tiles })
    }
}

/// Puts the rows of a range, which come in any order but for those of one window, together as a pass would have computed them.
fn tiles(windows: &[OwnedWindow], widths: &[usize], batches: &[RecordBatch]) -> Result<Vec<Vec<f32>>> {
    let mut of_windows: HashMap<i64, Vec<(usize, usize)>> = HashMap::new();
    for (number, batch) in batches.iter().enumerate() {
        for (row, sequence) in batch.column(0).as_primitive::<Int64Type>().values().iter().enumerate() {
            of_windows.entry(*sequence).or_default().push((number, row));
        }
    }
    let n_tokens: usize = windows.iter().map(|window| window.token_ids.len()).sum();
    let mut tiles: Vec<Vec<f32>> = widths.iter().map(|width| Vec::with_capacity(n_tokens * width)).collect();
    for window in windows {
        let rows = of_windows.get(&window.sequence).map_or(&[][..], Vec::as_slice);
        if rows.len() != widths.len() {
            return Err(changed(window, format!("{} hook points", widths.len()), rows.len()));
        }
        for ((tile, width), (batch, row)) in tiles.iter_mut().zip(widths).zip(rows) {
            let values = batches[*batch].column(1).as_list::<i32>().value(*row);
            let expected = window.token_ids.len() * width;
            if values.len() != expected {
                return Err(changed(window, format!("{expected} activations"), values.len()));
            }
            tile.extend_from_slice(values.as_primitive::<Float32Type>().values());
        }
    }
    Ok(tiles)
}

fn changed(window: &OwnedWindow, expected: String, got: usize) -> Error {
    let sequence = window.sequence;
    Error::internal(format!(
        "token sequence {sequence} on a worker: expected {expected}, got {got}; the table may have changed"
    ))
}

/// A model's name that means the same in another folder: paths are made absolute.
fn at_its_place(model: &str) -> String {
    let absolute = std::path::Path::new(model).exists().then(|| std::path::absolute(model).ok()).flatten();
    absolute.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| model.to_owned())
}

#[cfg(test)]
mod tests;
