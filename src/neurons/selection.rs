//! Which neurons of a hook point are wanted: `all`, or indices and ranges.

use std::fmt;
use std::ops::RangeInclusive;

use super::collector::HookUnits;
use crate::error::{Error, Result};
use crate::models::hook_points::HookPoint;

/// Neurons of a hook point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NeuronSelection {
    /// Every neuron.
    All,
    /// Ascending ranges that do not touch.
    Ranges(Vec<RangeInclusive<u32>>),
}

impl NeuronSelection {
    /// Reads `all`, or a list such as `0-9,12`.
    ///
    /// # Errors
    /// [`Error::Argument`] for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "all" {
            return Ok(Self::All);
        }
        let fault = || Error::Argument {
            argument: "--neurons".to_owned(),
            expected: "'all' or a list such as 0-9,12".to_owned(),
            got: text.to_owned(),
        };
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u32>().map_err(|_| fault());
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(fault());
            }
            ranges.push(first..=last);
        }
        ranges.sort_by_key(|range| *range.start());
        let mut merged: Vec<RangeInclusive<u32>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => merged.push(range),
            }
        }
        Ok(Self::Ranges(merged))
    }

    /// The selected units of a hook point.
    ///
    /// # Errors
    /// [`Error::NeuronOutOfRange`] for an index past its width.
    pub fn units(&self, hook: &HookPoint) -> Result<HookUnits> {
        match self {
            Self::All => Ok(HookUnits::all(hook.name(), hook.width())),
            Self::Ranges(ranges) => {
                // Checked before the indices are listed: a slip of the keyboard must not ask for gigabytes.
                match ranges.last() {
                    Some(last) if *last.end() as usize >= hook.width() => Err(Error::NeuronOutOfRange {
                        hook_point: hook.name().to_owned(),
                        neuron: *last.end(),
                        n_neurons: hook.width(),
                    }),
                    _ => HookUnits::selected(hook.name(), hook.width(), ranges.iter().cloned().flatten().collect()),
                }
            }
        }
    }

    /// First and last index that may be selected.
    pub fn bounds(&self) -> (u32, u32) {
        match self {
            Self::All => (0, i32::MAX.cast_unsigned()),
            Self::Ranges(ranges) => {
                (ranges.first().map_or(0, |range| *range.start()), ranges.last().map_or(0, |range| *range.end()))
            }
        }
    }
}

impl fmt::Display for NeuronSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Ranges(ranges) = self else { return f.write_str("all") };
        for (index, range) in ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match range.start() == range.end() {
                true => write!(f, "{comma}{}", range.start())?,
                false => write!(f, "{comma}{}-{}", range.start(), range.end())?,
            }
        }
        Ok(())
    }
}
