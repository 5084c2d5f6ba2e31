//! Exact against brute force, approximate by its recall.
