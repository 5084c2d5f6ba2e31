//! Blocks of neurons that lie side by side, and kernels compiled for the widest vectors of the machine.
//!
//! A kernel works on each neuron of a block on its own and in token order, so its results do not depend on the vector
//! width: Rust neither reorders nor fuses floating-point operations.

/// Neurons that are processed together: four cache lines of each token's activations.
pub(crate) const BLOCK: usize = 64;

/// The values of one block of neurons at one token.
pub(crate) type Row = [f32; BLOCK];

/// Defines `fn name(args)` that runs `body::<LANES>(args)` compiled for AVX-512, for AVX2 or for the build's target.
macro_rules! widest {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) = $body:ident) => {
        $(#[$doc])*
        $visibility fn $name($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($argument: $type),*) {
                    $body::<16>($($argument),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $type),*) {
                    $body::<8>($($argument),*)
                }
                if std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has just been found to have every feature the function was compiled for.
                    return unsafe { avx512($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $body::<4>($($argument),*)
        }
    };
}

pub(crate) use widest;
