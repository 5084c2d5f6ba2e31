//! Matrix products with weights that are packed once, when the model is loaded.
//!
//! A general GEMM packs both operands in every call; here the weights never change, so only the activations are packed.
//! An element of the product is a sum over the inner dimension in blocks of [`DEPTH_BLOCK`], each block summed in order: the
//! blocking along rows and columns does not enter, which makes a row's result independent of the other rows.

use std::ops::Range;

use super::isa::Isa;
use super::tile::{MAX_ROWS, PANEL, Tile};

/// Inner elements of a block: a panel of this depth (24 kB) and a packed tile row stay in the first-level cache.
const DEPTH_BLOCK: usize = 384;

/// Rows of a block: the packed block (at most 250 kB) stays in the second-level cache.
const ROW_BLOCK: usize = 24 * MAX_ROWS;

/// A matrix `[depth, columns]` cut into panels of [`PANEL`] columns, the last one filled up with zeros.
#[derive(Debug)]
pub(crate) struct PackedMatrix {
    depth: usize,
    columns: usize,
    /// `[panel, depth, PANEL]`.
    panels: Vec<f32>,
}

/// How the two dimensions of a matrix lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[depth, columns]`: GPT-2's Conv1D weights.
    DepthByColumns,
    /// `[columns, depth]`: the weights of a linear layer, applied as x W^T.
    ColumnsByDepth,
}

impl PackedMatrix {
    /// Packs `values`, which holds depth * columns floats.
    pub(crate) fn new(values: &[f32], depth: usize, columns: usize, layout: Layout) -> Self {
        assert!(values.len() == depth * columns, "expected {depth} x {columns} values, got {}", values.len());
        let mut packed = Self { depth, columns, panels: Vec::new() };
        packed.panels.resize(columns.div_ceil(PANEL) * PANEL * depth, 0.0);
        for column in 0..columns {
            let panel = &mut packed.panels[(column / PANEL) * depth * PANEL..];
            for k in 0..depth {
                panel[k * PANEL + column % PANEL] = match layout {
                    Layout::DepthByColumns => values[k * columns + column],
                    Layout::ColumnsByDepth => values[column * depth + k],
                };
            }
        }
        packed
    }

    /// Rows of the matrix: values of a row that it is multiplied with.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of the matrix, and so of a product with it.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Panels of [`PANEL`] columns, `[depth, PANEL]` each, the last one filled up with zeros.
    pub(super) fn panels(&self) -> std::slice::ChunksExact<'_, f32> {
        self.panels.chunks_exact(self.depth * PANEL)
    }

    /// Column `column` of the matrix, element by element.
    pub(crate) fn column(&self, column: usize) -> impl Iterator<Item = f32> + '_ {
        let panel = &self.panels[(column / PANEL) * self.depth * PANEL..][..self.depth * PANEL];
        panel.iter().skip(column % PANEL).step_by(PANEL).copied()
    }

    /// Row `row` of the matrix, element by element.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = f32> + '_ {
        let panels = self.panels.chunks_exact(self.depth * PANEL);
        panels.flat_map(move |panel| panel[row * PANEL..][..PANEL].iter().copied()).take(self.columns)
    }
}

/// Rows of activations: row r is `values[r * stride..][..depth]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) n: usize,
}

/// Memory of a matrix product, kept between calls.
#[derive(Debug, Default)]
pub(crate) struct MatmulScratch {
    packed_rows: Vec<f32>,
    edge: Vec<f32>,
}

/// One product: `rows` times some of the rows of `weights`, plus `bias`.
#[derive(Clone, Debug)]
pub(crate) struct Product<'a> {
    pub(crate) rows: Rows<'a>,
    pub(crate) weights: &'a PackedMatrix,
    /// Which rows of the weights; as many as a row of `rows` has values.
    pub(crate) depth: Range<usize>,
    /// One value a column, or empty.
    pub(crate) bias: &'a [f32],
}

/// Writes `values` `[n, depth]` x `weights` + `bias` to `out` `[n, columns]`; `bias` is empty or one value a column.
pub(crate) fn matmul(
    values: &[f32],
    weights: &PackedMatrix,
    bias: &[f32],
    out: &mut [f32],
    scratch: &mut MatmulScratch,
) {
    let rows = Rows { values, stride: weights.depth, n: values.len() / weights.depth };
    let product = Product { rows, weights, depth: 0..weights.depth, bias };
    product.write(Isa::detected(), out, weights.columns, scratch);
}

impl Product<'_> {
    /// Writes row r of the product to `out[r * stride..][..columns]`, with an instruction set the processor has.
    pub(crate) fn write(self, isa: Isa, out: &mut [f32], stride: usize, scratch: &mut MatmulScratch) {
        let Self { rows, weights, depth, bias } = self;
        let columns = weights.columns;
        if rows.n == 0 {
            return;
        }
        assert!(rows.values.len() >= (rows.n - 1) * rows.stride + depth.len(), "rows of {} values", depth.len());
        assert!(out.len() >= (rows.n - 1) * stride + columns, "room for {} rows of {columns} outputs", rows.n);
        for row in out.chunks_mut(stride).take(rows.n) {
            if bias.is_empty() { row[..columns].fill(0.0) } else { row[..columns].copy_from_slice(bias) }
        }
        let tile_rows = isa.tile_rows();
        for block_start in depth.clone().step_by(DEPTH_BLOCK) {
            let block = block_start..depth.end.min(block_start + DEPTH_BLOCK);
            for row_start in (0..rows.n).step_by(ROW_BLOCK) {
                let n_rows = ROW_BLOCK.min(rows.n - row_start);
                pack_rows(
                    rows,
                    row_start..row_start + n_rows,
                    block_start - depth.start,
                    block.len(),
                    tile_rows,
                    &mut scratch.packed_rows,
                );
                for (panel, b) in weights.panels.chunks_exact(weights.depth * PANEL).enumerate() {
                    let b = &b[block.start * PANEL..block.end * PANEL];
                    let column = panel * PANEL;
                    for (tile, a) in scratch.packed_rows.chunks_exact(block.len() * tile_rows).enumerate() {
                        let row = row_start + tile * tile_rows;
                        let rows = tile_rows.min(row_start + n_rows - row);
                        let out = &mut out[row * stride + column..];
                        if column + PANEL <= columns {
                            Tile { a, b, out, stride, rows }.accumulate(isa);
                        } else {
                            // The last panel of a matrix whose columns do not fill it is computed beside the output.
                            scratch.edge.clear();
                            scratch.edge.resize(rows * PANEL, 0.0);
                            Tile { a, b, out: &mut scratch.edge, stride: PANEL, rows }.accumulate(isa);
                            for (out, edge) in out.chunks_mut(stride).zip(scratch.edge.chunks_exact(PANEL)) {
                                for (out, value) in out.iter_mut().zip(&edge[..columns - column]) {
                                    *out += value;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Rearranges `depth` values of a block of rows to `[tile, depth, tile_rows]`, in the order in which a tile reads them.
fn pack_rows(rows: Rows<'_>, block: Range<usize>, start: usize, depth: usize, tile_rows: usize, packed: &mut Vec<f32>) {
    packed.clear();
    packed.resize(block.len().div_ceil(tile_rows) * tile_rows * depth, 0.0);
    for (row, source) in block.enumerate() {
        let source = &rows.values[source * rows.stride + start..][..depth];
        let target = &mut packed[row / tile_rows * tile_rows * depth + row % tile_rows..];
        for (target, value) in target.iter_mut().step_by(tile_rows).zip(source) {
            *target = *value;
        }
    }
}
