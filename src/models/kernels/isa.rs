//! Which instructions the processor has, and the macro that compiles a function once for each set of them.

use std::sync::OnceLock;

/// The widest set of vector instructions the kernels may use on this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// 16 floats a register, 32 registers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 8 floats a register, 16 registers, fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the target's baseline has.
    Portable,
}

impl Isa {
    /// The widest set this processor has; asked of the processor once.
    pub(crate) fn detected() -> Self {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(|| Self::available().first().copied().unwrap_or(Isa::Portable))
    }

    /// Every set this processor has, widest first.
    pub(crate) fn available() -> Vec<Self> {
        let mut available = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
            if avx2 && std::arch::is_x86_feature_detected!("avx512f") {
                available.push(Isa::Avx512);
            }
            if avx2 {
                available.push(Isa::Avx2);
            }
        }
        available.push(Isa::Portable);
        available
    }
}

/// `a * b + c`, rounded once where the instruction set has a fused multiply-add (aarch64 always has).
///
/// The portable form on x86 rounds twice: a software `mul_add` would be a library call for each element.
#[inline(always)]
pub(crate) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED || cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
}

/// Defines `$name`, which runs `$body` compiled for the widest instruction set the processor has.
///
/// `$body` is an `#[inline(always)]` function with a constant parameter `FUSED`, so one text gives all three forms and
/// the compiler vectorises each by itself.
macro_rules! multiversion {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) = $body:ident) => {
        $(#[$attribute])*
        $visibility fn $name($($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx2,fma")]
                fn avx512($($argument: $type),*) {
                    $body::<true>($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) {
                    $body::<true>($($argument),*)
                }
                match $crate::models::kernels::isa::Isa::detected() {
                    // SAFETY: `detected` answers Avx512 only where the processor has avx512f, avx2 and fma.
                    $crate::models::kernels::isa::Isa::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: `detected` answers Avx2 only where the processor has avx2 and fma.
                    $crate::models::kernels::isa::Isa::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::models::kernels::isa::Isa::Portable => {}
                }
            }
            $body::<false>($($argument),*)
        }
    };
}
pub(crate) use multiversion;
