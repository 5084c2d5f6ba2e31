//! transluce
