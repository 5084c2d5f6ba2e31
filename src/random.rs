//! Seeded, order-free randomness: every draw is a hash of what it is for.

/// Mixes a seed with two keys into 64 uniform bits (SplitMix64 finaliser, Steele et al. 2014, applied twice).
pub(crate) fn mix(seed: u64, a: u64, b: u64) -> u64 {
    finalise(finalise(seed ^ finalise(a)) ^ b)
}

fn finalise(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
