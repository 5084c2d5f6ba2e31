//! Fixed-length runs of token ids, the document each comes from and the split it belongs to.

pub mod split;
pub mod window;
pub(crate) mod windows;

#[cfg(test)]
mod tests;
