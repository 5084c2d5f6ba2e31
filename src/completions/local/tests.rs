//! The engine on the embedded model.
