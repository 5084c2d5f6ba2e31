//! The dataset's layout, in memory.
