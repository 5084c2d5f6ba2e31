//! A table of aligned columns, or a line for each value.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::cli::escape::{escape, truncated, width};
use crate::cli::table::{Format, Layout, TableWidth, arrow_error, output_error};
use crate::error::Result;

/// Rows that are looked at to choose the widths of the columns …
const MEASURED_ROWS: usize = 1_000;

/// … unless they hold this many bytes earlier.
const MEASURED_BYTES: usize = 8 << 20;

/// Columns are not made narrower than this, even if the table then is wider than the terminal.
const MIN_WIDTH: usize = 4;

/// How NULL is shown: not like an empty text.
const NULL: &str = "NULL";

/// Writes rows for people. Text is made safe for terminals; undefined values show as `NULL`.
pub(super) struct TextTable<W> {
    out: W,
    layout: Layout,
    width: TableWidth,
    names: Vec<String>,
    /// Numbers stand at the right of their column.
    right: Vec<bool>,
    /// Known once the first rows were written.
    widths: Option<Vec<usize>>,
    waiting: Vec<Vec<String>>,
    waiting_bytes: usize,
    n_written: u64,
}

impl<W: Write> TextTable<W> {
    pub(super) fn new(out: W, schema: &SchemaRef, layout: Layout, width: TableWidth) -> Self {
        let names = schema.fields().iter().map(|field| escape(field.name()).into_owned()).collect();
        let right = schema.fields().iter().map(|field| field.data_type().is_numeric()).collect();
        Self { out, layout, width, names, right, widths: None, waiting: Vec::new(), waiting_bytes: 0, n_written: 0 }
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let options = FormatOptions::default().with_null(NULL).with_display_error(true);
        let formatters: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| arrow_error(Format::Table, error))?;
        for row in 0..batch.num_rows() {
            let cells: Vec<String> =
                formatters.iter().map(|column| escape(&column.value(row).to_string()).into_owned()).collect();
            if self.layout == Layout::Expanded {
                self.write_expanded(&cells)?;
            } else if self.widths.is_some() {
                self.write_row(&cells)?;
            } else {
                self.waiting_bytes += cells.iter().map(String::len).sum::<usize>();
                self.waiting.push(cells);
                if self.waiting.len() >= MEASURED_ROWS || self.waiting_bytes >= MEASURED_BYTES {
                    self.write_waiting()?;
                }
            }
        }
        Ok(())
    }

    /// Writes the number of rows and returns the output.
    pub(super) fn finish(mut self, n_rows: u64) -> Result<W> {
        if self.layout == Layout::Rows && self.widths.is_none() {
            self.write_waiting()?;
        }
        let rows = if n_rows == 1 { "row" } else { "rows" };
        writeln!(self.out, "({n_rows} {rows})").map_err(output_error)?;
        Ok(self.out)
    }

    /// Chooses the widths and writes the head and the rows that waited for it.
    fn write_waiting(&mut self) -> Result<()> {
        let mut widths: Vec<usize> = self.names.iter().map(|name| width(name)).collect();
        for row in &self.waiting {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = width(cell).max(*widest);
            }
        }
        if let TableWidth::Terminal(columns) = self.width {
            shrink(&mut widths, &self.right, columns);
        }
        let names: Vec<String> = self.names.clone();
        let line: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        self.widths = Some(widths);
        self.write_row(&names)?;
        writeln!(self.out, "{}", line.join("+")).map_err(output_error)?;
        for row in std::mem::take(&mut self.waiting) {
            self.write_row(&row)?;
        }
        Ok(())
    }

    fn write_row(&mut self, cells: &[String]) -> Result<()> {
        let mut line = String::new();
        let widths = self.widths.as_deref().unwrap_or_default();
        for (column, (cell, columns)) in cells.iter().zip(widths).enumerate() {
            let right = self.right.get(column).is_some_and(|right| *right);
            let cell = match self.width {
                TableWidth::Terminal(_) if !right => truncated(cell, *columns),
                TableWidth::Terminal(_) | TableWidth::Unlimited => cell.as_str().into(),
            };
            let padding = " ".repeat(columns.saturating_sub(width(&cell)));
            line.push_str(if column == 0 { " " } else { " | " });
            if right {
                line.extend([padding.as_str(), &cell]);
            } else {
                line.extend([&cell, padding.as_str()]);
            }
        }
        self.n_written += 1;
        writeln!(self.out, "{}", line.trim_end()).map_err(output_error)
    }

    /// A line a value; nothing is cut, because that is what this layout is for.
    fn write_expanded(&mut self, cells: &[String]) -> Result<()> {
        self.n_written += 1;
        let widest = self.names.iter().map(|name| width(name)).max().unwrap_or(0);
        writeln!(self.out, "-- row {} --", self.n_written).map_err(output_error)?;
        for (name, cell) in self.names.iter().zip(cells) {
            let padding = " ".repeat(widest.saturating_sub(width(name)));
            writeln!(self.out, "{name}{padding} | {cell}").map_err(output_error)?;
        }
        Ok(())
    }
}

/// Narrows the widest columns until all of them fit side by side; numbers are never cut, they would be other numbers.
fn shrink(widths: &mut [usize], numeric: &[bool], columns: usize) {
    // A space on either side of each, a bar between two.
    let borders = (3 * widths.len()).saturating_sub(1);
    let room = columns.saturating_sub(borders);
    let capped = |width: usize, numeric: bool, cap: usize| if numeric { width } else { width.min(cap) };
    let needed = |cap| widths.iter().zip(numeric).map(|(width, numeric)| capped(*width, *numeric, cap)).sum::<usize>();
    if needed(usize::MAX) <= room {
        return;
    }
    let cap = (MIN_WIDTH..=room.max(MIN_WIDTH)).rev().find(|cap| needed(*cap) <= room).unwrap_or(MIN_WIDTH);
    for (width, numeric) in widths.iter_mut().zip(numeric) {
        *width = capped(*width, *numeric, cap);
    }
}
