//! Sparse autoencoders: training, inference, metrics and the formats they are published in.
