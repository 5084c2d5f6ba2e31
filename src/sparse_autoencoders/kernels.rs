//! The inner loops, each compiled once for every set of vector instructions and chosen by what the processor has.
//!
//! The order of every sum is fixed by the length alone, never by the number of threads.

use crate::number::Number;

/// Sums that are kept apart, so that the processor's adders are filled: four registers of 16 floats.
const LANES: usize = 64;

/// As [`LANES`], for sums in f64.
const WIDE_LANES: usize = 16;

/// Which vector instructions the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    fn detected() -> Self {
        static DETECTED: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *DETECTED.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let avx2 = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
                let avx512 = avx2
                    && std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl");
                if avx512 {
                    return Isa::Avx512;
                }
                if avx2 {
                    return Isa::Avx2;
                }
            }
            Isa::Portable
        })
    }
}

#[inline(always)]
fn multiply_add<T: Number, const FUSED: bool>(a: T, b: T, c: T) -> T {
    if FUSED || cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
}

/// Defines `$name`, which runs `$body` compiled for the widest instruction set the processor has.
macro_rules! multiversion {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident<T>($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? = $body:ident) => {
        $(#[$attribute])*
        $visibility fn $name<T: Number>($($argument: $type),*) $(-> $output)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512<T: Number>($($argument: $type),*) $(-> $output)? {
                    $body::<T, true>($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2<T: Number>($($argument: $type),*) $(-> $output)? {
                    $body::<T, true>($($argument),*)
                }
                match Isa::detected() {
                    // SAFETY: `detected` answers Avx512 only where the processor has all of these features.
                    Isa::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: `detected` answers Avx2 only where the processor has avx2 and fma.
                    Isa::Avx2 => return unsafe { avx2($($argument),*) },
                    Isa::Portable => {}
                }
            }
            $body::<T, false>($($argument),*)
        }
    };
}

multiversion! {
    /// `Σ a b` over two slices of one length.
    pub fn dot<T>(a: &[T], b: &[T]) -> T = dot_body
}

#[inline(always)]
fn dot_body<T: Number, const FUSED: bool>(a: &[T], b: &[T]) -> T {
    let b = &b[..a.len()];
    let mut sums = [T::ZERO; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_blocks.remainder(), b_blocks.remainder());
    for (a, b) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] = multiply_add::<T, FUSED>(a[lane], b[lane], sums[lane]);
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] = multiply_add::<T, FUSED>(*a, *b, sums[lane]);
    }
    folded(sums)
}

/// The sum of all lanes, by halves.
#[inline(always)]
fn folded<T: Number>(mut sums: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

multiversion! {
    /// `Σ x²` in f64.
    pub fn sum_of_squares<T>(x: &[T]) -> f64 = sum_of_squares_body
}

#[inline(always)]
fn sum_of_squares_body<T: Number, const FUSED: bool>(x: &[T]) -> f64 {
    let mut sums = [0.0_f64; WIDE_LANES];
    for block in x.chunks(WIDE_LANES) {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum = multiply_add::<f64, FUSED>(x.wide(), x.wide(), *sum);
        }
    }
    sums.iter().sum()
}

multiversion! {
    /// `x -= y`; returns `Σ x²` in f64.
    pub fn subtract_and_square<T>(x: &mut [T], y: &[T]) -> f64 = subtract_and_square_body
}

#[inline(always)]
fn subtract_and_square_body<T: Number, const FUSED: bool>(x: &mut [T], y: &[T]) -> f64 {
    let mut sums = [0.0_f64; WIDE_LANES];
    for (x, y) in x.chunks_mut(WIDE_LANES).zip(y.chunks(WIDE_LANES)) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *x -= *y;
            *sum = multiply_add::<f64, FUSED>(x.wide(), x.wide(), *sum);
        }
    }
    sums.iter().sum()
}

multiversion! {
    /// `y += factor x`.
    pub fn add_scaled<T>(factor: T, x: &[T], y: &mut [T]) = add_scaled_body
}

#[inline(always)]
fn add_scaled_body<T: Number, const FUSED: bool>(factor: T, x: &[T], y: &mut [T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = multiply_add::<T, FUSED>(factor, *x, *y);
    }
}

/// One firing, as it is collected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate<T> {
    /// The pre-activation.
    pub value: T,
    /// The latent.
    pub latent: u32,
}

/// Pre-activations that are compared at once before any of them is looked at.
const SCAN: usize = 64;

multiversion! {
    /// Adds to `found` every latent whose `products + biases` is greater than the threshold, by rising latent.
    pub fn scan_above<T>(products: &[T], biases: &[T], first_latent: u32, threshold: T, found: &mut Vec<Candidate<T>>)
        = scan_above_body
}

#[inline(always)]
fn scan_above_body<T: Number, const FUSED: bool>(
    products: &[T],
    biases: &[T],
    first_latent: u32,
    threshold: T,
    found: &mut Vec<Candidate<T>>,
) {
    let biases = &biases[..products.len()];
    for (block, (products, biases)) in products.chunks(SCAN).zip(biases.chunks(SCAN)).enumerate() {
        let mut mask = 0_u64;
        if let (Ok(products), Ok(biases)) = (<&[T; SCAN]>::try_from(products), <&[T; SCAN]>::try_from(biases)) {
            for lane in 0..SCAN {
                mask |= u64::from(products[lane] + biases[lane] > threshold) << lane;
            }
        } else {
            for (lane, (product, bias)) in products.iter().zip(biases).enumerate() {
                mask |= u64::from(*product + *bias > threshold) << lane;
            }
        }
        while mask != 0 {
            let lane = mask.trailing_zeros() as usize;
            let latent = first_latent + (block * SCAN + lane) as u32;
            found.push(Candidate { value: products[lane] + biases[lane], latent });
            mask &= mask - 1;
        }
    }
}

multiversion! {
    /// Adds to `found` every latent whose `products + biases` is greater than its own threshold, by rising latent.
    pub fn scan_over<T>(
        products: &[T],
        biases: &[T],
        thresholds: &[T],
        first_latent: u32,
        found: &mut Vec<Candidate<T>>,
    ) = scan_over_body
}

#[inline(always)]
fn scan_over_body<T: Number, const FUSED: bool>(
    products: &[T],
    biases: &[T],
    thresholds: &[T],
    first_latent: u32,
    found: &mut Vec<Candidate<T>>,
) {
    let n = products.len();
    let (biases, thresholds) = (&biases[..n], &thresholds[..n]);
    for first in (0..n).step_by(SCAN) {
        let block = first..n.min(first + SCAN);
        let (products, biases, thresholds) = (&products[block.clone()], &biases[block.clone()], &thresholds[block]);
        let mut mask = 0_u64;
        for (lane, ((product, bias), threshold)) in products.iter().zip(biases).zip(thresholds).enumerate() {
            mask |= u64::from(*product + *bias > *threshold) << lane;
        }
        while mask != 0 {
            let lane = mask.trailing_zeros() as usize;
            found
                .push(Candidate { value: products[lane] + biases[lane], latent: first_latent + (first + lane) as u32 });
            mask &= mask - 1;
        }
    }
}

/// Step sizes of Adam at one step, with the corrections of the moments' bias in them.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep<T> {
    /// Decay of the first moment.
    pub beta1: T,
    /// Decay of the second moment.
    pub beta2: T,
    /// Learning rate divided by `1 − β1^t`.
    pub rate: T,
    /// `1 / √(1 − β2^t)`.
    pub second_correction: T,
    /// Added to the root of the corrected second moment.
    pub epsilon: T,
}

multiversion! {
    /// One step of Adam (Kingma and Ba 2015, algorithm 1) on one row of weights.
    pub fn adam<T>(step: &AdamStep<T>, gradient: &[T], weights: &mut [T], first: &mut [T], second: &mut [T]) = adam_body
}

#[inline(always)]
fn adam_body<T: Number, const FUSED: bool>(
    step: &AdamStep<T>,
    gradient: &[T],
    weights: &mut [T],
    first: &mut [T],
    second: &mut [T],
) {
    let n = gradient.len();
    let (weights, first, second) = (&mut weights[..n], &mut first[..n], &mut second[..n]);
    let (gain1, gain2) = (T::ONE - step.beta1, T::ONE - step.beta2);
    for i in 0..n {
        let g = gradient[i];
        let m = multiply_add::<T, FUSED>(step.beta1, first[i], gain1 * g);
        let v = multiply_add::<T, FUSED>(step.beta2, second[i], gain2 * (g * g));
        first[i] = m;
        second[i] = v;
        weights[i] -= step.rate * m / multiply_add::<T, FUSED>(v.sqrt(), step.second_correction, step.epsilon);
    }
}
