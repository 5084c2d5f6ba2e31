//! The exponential function on f32, in a form the compiler vectorises.

use super::isa::multiply_add;

/// Adding this number to a float below 2^22 in size rounds it to the nearest integer, kept in the low mantissa bits.
const ROUND: f32 = 12_582_912.0;

/// ln 2 as a float with few bits (its product with an exponent is exact) and what is missing from it.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// e^x within 2 units in the last place for x in [-87.3, 88.7]; smaller x gives a number below 2e-38, larger x a number
/// above 3e38.
///
/// Range reduction to |r| <= ln 2 / 2 and a polynomial of degree 6 for (e^r - 1 - r) / r^2 (the Cephes `expf` coefficients).
#[inline(always)]
pub(crate) fn exp<const FUSED: bool>(x: f32) -> f32 {
    let x = x.clamp(-87.3, 88.7);
    let shifted = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FUSED>(n, -LN_2_HIGH, x);
    let r = multiply_add::<FUSED>(n, -LN_2_LOW, r);
    let p = 1.987_569_1e-4;
    let p = multiply_add::<FUSED>(p, r, 1.398_199_9e-3);
    let p = multiply_add::<FUSED>(p, r, 8.333_452e-3);
    let p = multiply_add::<FUSED>(p, r, 4.166_579_6e-2);
    let p = multiply_add::<FUSED>(p, r, 0.166_666_65);
    let p = multiply_add::<FUSED>(p, r, 0.5);
    let p = multiply_add::<FUSED>(p, r * r, r) + 1.0;
    // The exponent is added in two halves: 2^128, which x = 88.7 reaches, is no finite float.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n - half)
}

/// 2^n for n in [-126, 127].
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}
