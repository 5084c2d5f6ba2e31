//! The collection on disk: a fixed head, the shared counts, then one length-prefixed postcard frame for each block.
//!
//! One frame at a time is in memory. Bucket counts are variable-length integers (most are 0 and take one byte), activations
//! and means raw bytes, and unused record slots take no space.

use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use crate::activation_records::quantile_samples::WindowMaxima;
use crate::activation_records::record::N_QUANTILE_RANGES;
use crate::activation_records::slots::UsedSlots;
use crate::error::collector::CollectorError;
use crate::neurons::block::BlockState;
use crate::neurons::lanes::BLOCK;
use crate::neurons::moments::BlockMoments;
use crate::neurons::plan::Progress;
use crate::neurons::raw_bytes;
use crate::neurons::sketch::ValueSketch;

type Result<T> = std::result::Result<T, CollectorError>;

/// First bytes of a checkpoint: the format and its version.
const MAGIC: [u8; 8] = *b"nlcoll\x00\x01";
/// Last bytes, so that a file that was cut off between blocks is told from a whole one.
const END: [u8; 8] = *b"nlcoll\x00\xff";

#[derive(Serialize, Deserialize)]
struct Head {
    n_tokens: u64,
    n_windows: u64,
    last_sequence: Option<i64>,
    token_counts: Vec<u64>,
    n_blocks: u64,
}

/// A block as it is written; [`ReadBlock`] has the same fields in the same order.
#[derive(Serialize)]
struct WrittenBlock<'a> {
    moments: &'a BlockMoments,
    sketch: &'a ValueSketch,
    #[serde(with = "raw_bytes")]
    token_means: &'a [f32],
    sets: Vec<(UsedSlots, UsedSlots)>,
    maxima: &'a WindowMaxima,
    boundaries: Option<Vec<[f32; N_QUANTILE_RANGES - 1]>>,
    quantile_samples: UsedSlots,
}

#[derive(Deserialize)]
struct ReadBlock {
    moments: BlockMoments,
    sketch: ValueSketch,
    #[serde(with = "raw_bytes")]
    token_means: Vec<f32>,
    sets: Vec<(UsedSlots, UsedSlots)>,
    maxima: WindowMaxima,
    boundaries: Option<Vec<[f32; N_QUANTILE_RANGES - 1]>>,
    quantile_samples: UsedSlots,
}

pub(crate) fn write<'a>(
    mut writer: impl Write,
    configuration: u64,
    progress: &Progress,
    blocks: impl ExactSizeIterator<Item = &'a BlockState>,
) -> Result<()> {
    put(&mut writer, &MAGIC)?;
    put(&mut writer, &configuration.to_le_bytes())?;
    let head = Head {
        n_tokens: progress.n_tokens,
        n_windows: progress.n_windows,
        last_sequence: progress.last_sequence,
        token_counts: progress.token_counts.clone(),
        n_blocks: blocks.len() as u64,
    };
    put_frame(&mut writer, &head)?;
    for state in blocks {
        put_frame(
            &mut writer,
            &WrittenBlock {
                moments: &state.moments,
                sketch: &state.sketch,
                token_means: state.token_means.rows.as_flattened(),
                sets: state.sets.iter().map(|(top, samples)| (top.slots.used(), samples.slots.used())).collect(),
                maxima: &state.quantile_samples.maxima,
                boundaries: state.quantile_samples.current_boundaries(),
                quantile_samples: state.quantile_samples.slots.used(),
            },
        )?;
    }
    put(&mut writer, &END)?;
    writer.flush().map_err(|source| CollectorError::CheckpointIo { source })
}

pub(crate) fn read<'a>(
    mut reader: impl Read,
    configuration: u64,
    progress: &mut Progress,
    blocks: impl ExactSizeIterator<Item = &'a mut BlockState>,
) -> Result<()> {
    if take::<8>(&mut reader)? != MAGIC {
        return Err(fault("expected a checkpoint of this version, got something else"));
    }
    let got = u64::from_le_bytes(take(&mut reader)?);
    if got != configuration {
        return Err(CollectorError::CheckpointMismatch { expected: configuration, got });
    }
    let head: Head = take_frame(&mut reader)?;
    if head.n_blocks != blocks.len() as u64 || head.token_counts.len() != progress.token_counts.len() {
        return Err(fault("expected as many blocks and token counts as the configuration has"));
    }
    for state in blocks {
        restore(state, take_frame(&mut reader)?)?;
    }
    if take::<8>(&mut reader)? != END {
        return Err(fault("expected the end mark, got something else"));
    }
    progress.n_tokens = head.n_tokens;
    progress.n_windows = head.n_windows;
    progress.last_sequence = head.last_sequence;
    progress.token_counts = head.token_counts;
    Ok(())
}

fn restore(state: &mut BlockState, block: ReadBlock) -> Result<()> {
    let (rows, rest) = block.token_means.as_chunks::<BLOCK>();
    let mut fits = rest.is_empty()
        && rows.len() == state.token_means.rows.len()
        && block.sketch.is_whole()
        && block.sets.len() == state.sets.len();
    if fits {
        state.token_means.rows.copy_from_slice(rows);
    }
    state.moments = block.moments;
    state.sketch = block.sketch;
    for ((top, samples), (used_top, used_samples)) in state.sets.iter_mut().zip(block.sets) {
        fits &= top.slots.refill(used_top) && samples.slots.refill(used_samples);
        top.reset_thresholds();
        samples.reset_thresholds();
    }
    fits &= state.quantile_samples.slots.refill(block.quantile_samples);
    fits &= state.quantile_samples.restore(block.maxima, block.boundaries);
    if fits { Ok(()) } else { Err(fault("expected a block of the configured shape, got another")) }
}

fn put_frame(writer: &mut impl Write, value: &impl Serialize) -> Result<()> {
    let bytes = postcard::to_stdvec(value).map_err(|error| fault(&error.to_string()))?;
    put(writer, &(bytes.len() as u64).to_le_bytes())?;
    put(writer, &bytes)
}

fn take_frame<T: for<'de> Deserialize<'de>>(reader: &mut impl Read) -> Result<T> {
    let length = u64::from_le_bytes(take(reader)?);
    // Read in as many bytes as there are, so that a damaged length costs no memory.
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes).map_err(|source| CollectorError::CheckpointIo { source })?;
    if bytes.len() as u64 != length {
        return Err(fault("expected a whole frame, got the end of the file"));
    }
    postcard::from_bytes(&bytes).map_err(|error| fault(&error.to_string()))
}

fn put(writer: &mut impl Write, bytes: &[u8]) -> Result<()> {
    writer.write_all(bytes).map_err(|source| CollectorError::CheckpointIo { source })
}

fn take<const N: usize>(reader: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => fault("expected more bytes, got the end of the file"),
        _ => CollectorError::CheckpointIo { source },
    })?;
    Ok(bytes)
}

fn fault(reason: &str) -> CollectorError {
    CollectorError::CheckpointFormat { reason: reason.to_owned() }
}
