//! The arithmetic of a forward pass on one thread: matrix products, norms, activations, rotary positions and attention.
//!
//! Two promises hold for every function here. An output row depends on its own input row only, never on how many rows
//! stand beside it, so a token's activations are the same bits in any tile. And each function is compiled three times,
//! for AVX-512, for AVX2 with FMA and portably, and the widest form the processor has is taken at run time.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod bidirectional_attention;
pub(crate) mod cached_attention;
pub(crate) mod cosine;
pub(crate) mod exp;
pub(crate) mod gelu_erf;
pub(crate) mod isa;
pub(crate) mod log_total;
pub(crate) mod matmul;
pub(crate) mod norm;
pub(crate) mod rope;
mod tile;

#[cfg(test)]
mod tests;
