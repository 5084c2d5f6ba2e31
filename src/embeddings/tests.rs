//! The sentence encoder against transformers (shared data's README).
