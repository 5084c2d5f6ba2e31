//! A part of the dataset: files read, parsed and made into rows, one unit after the other on one thread.
//!
//! A unit's lists go before the next unit is read, and files share one buffer, so that the same memory serves all of them: with fresh memory
//! for each, clearing it took more time than parsing.

use std::path::PathBuf;

use bytes::Bytes;

use super::dataset::path;
use super::read_unit::{self, Authors, Flaw, NotKept};
use crate::error::Result;
use crate::exchange::importer::OnBadFile;
use crate::exchange::known::Known;
use crate::exchange::rows::{Block, BlockBuilder};
use crate::exchange::source::read_into;
use crate::exchange::unit::UnitData;

/// A unit without rows, and which kinds of its files are wanted (places in [`super::dataset::KINDS`]).
pub(crate) type Wanted = (UnitData, Vec<usize>);

/// Where the files of a part are.
#[derive(Debug)]
pub(crate) enum Files {
    /// In this folder.
    Local(PathBuf),
    /// Here, in the order in which they are wanted; `None` for each that is not there.
    Fetched(std::vec::IntoIter<Option<Bytes>>),
}

/// What a part held.
#[derive(Debug)]
pub(crate) struct ReadPart {
    /// Rows of its units.
    pub(crate) block: Block,
    /// Bytes of each file that was read.
    pub(crate) sizes: Vec<usize>,
    /// The kind of each file that is not there.
    pub(crate) missing: Vec<usize>,
    /// What was left out.
    pub(crate) not_kept: NotKept,
    /// Files that are not of the format: neuron, kind, and what is wrong.
    pub(crate) flaws: Vec<(i32, usize, Flaw)>,
}

/// Reads the units of a part. Where a bad file stops the import, the block ends before the unit of the first.
///
/// # Errors
/// When a file is there and cannot be read.
pub(crate) fn read_part(
    wanted: Vec<Wanted>,
    mut files: Files,
    authors: &Authors,
    known: &Known,
    on_bad_file: OnBadFile,
) -> Result<ReadPart> {
    let mut block = BlockBuilder::new(known);
    let (mut sizes, mut missing, mut flaws, mut not_kept) = (Vec::new(), Vec::new(), Vec::new(), NotKept::new());
    let mut buffer = Vec::new();
    for (mut unit, kinds) in wanted {
        let neuron = unit.unit.neuron;
        let mut bad: Vec<(i32, usize, Flaw)> = Vec::new();
        for kind in kinds {
            let fetched: Bytes;
            let file = match &mut files {
                Files::Local(root) => {
                    let file = root.join(path(kind, unit.unit.layer.unwrap_or_default(), neuron));
                    read_into(&file, &mut buffer)?.then_some(buffer.as_slice())
                }
                Files::Fetched(files) => match files.next().flatten() {
                    Some(bytes) => {
                        fetched = bytes;
                        Some(fetched.as_ref())
                    }
                    None => None,
                },
            };
            let Some(file) = file else {
                missing.push(kind);
                continue;
            };
            sizes.push(file.len());
            // The windows of explanations are looked for among records, which must then be there or really be missing.
            if kind == 1 && bad.iter().any(|(_, kind, _)| *kind == 0) {
                continue;
            }
            match read_file(kind, file, authors, &mut unit) {
                Ok(more) => not_kept.extend(more),
                Err(flaw) => bad.push((neuron, kind, flaw)),
            }
        }
        let stop = !bad.is_empty() && on_bad_file == OnBadFile::Stop;
        flaws.extend(bad);
        if stop {
            break;
        }
        block.push(unit);
    }
    Ok(ReadPart { block: block.finish()?, sizes, missing, not_kept, flaws })
}

/// Reads one file into its unit; nothing of a bad file is kept.
fn read_file(kind: usize, file: &[u8], authors: &Authors, unit: &mut UnitData) -> Result<NotKept, Flaw> {
    let done = match kind {
        0 => read_unit::records(file, unit).map(|()| NotKept::new()),
        1 => read_unit::explanations(file, authors, unit),
        2 => read_unit::links(file, unit).map(|()| NotKept::new()),
        3 => read_unit::token_means(file, unit).map(|()| NotKept::new()),
        _ => read_unit::token_effects(file, unit).map(|()| NotKept::new()),
    };
    if done.is_err() {
        match kind {
            0 => unit.records.clear(),
            1 => unit.explanations.clear(),
            2 => unit.links.clear(),
            3 => unit.token_means.clear(),
            _ => unit.token_effects.clear(),
        }
    }
    done
}
