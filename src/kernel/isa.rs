//! Instruction sets: what the machine has, and what the user allows.

use anyhow::{Result, bail};
use pulp::{Simd, WithSimd};

/// An instruction set that this machine has: the tokens of the vector sets can only be made by
/// detecting them.
#[derive(Debug, Clone, Copy)]
pub enum Isa {
    Scalar,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    /// AVX-512 F, BW, CD, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
}

impl Isa {
    /// Every set of this machine, the slowest first.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Isa::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V3::try_new().map(Isa::Avx2));
            all.extend(pulp::x86::V4::try_new().map(Isa::Avx512));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(pulp::aarch64::Neon::try_new().map(Isa::Neon));
        all
    }

    /// The fastest set, or the one that `XCEPT_ISA` names.
    ///
    /// # Errors
    /// If `XCEPT_ISA` names a set that this machine has not.
    pub fn detect() -> Result<Self> {
        let all = Self::all();
        match std::env::var("XCEPT_ISA") {
            Err(_) => Ok(*all.last().unwrap_or(&Isa::Scalar)),
            Ok(name) => match all.iter().find(|isa| isa.name() == name) {
                Some(isa) => Ok(*isa),
                None => {
                    let names: Vec<_> = all.iter().map(|isa| isa.name()).collect();
                    bail!("XCEPT_ISA={name}: this machine has {}", names.join(", "))
                }
            },
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
        }
    }

    /// Runs a loop that is written for any vector, compiled for this set.
    #[inline(always)]
    pub(super) fn vectorize<Op: WithSimd>(self, op: Op) -> Op::Output {
        match self {
            Isa::Scalar => Simd::vectorize(pulp::Scalar::new(), op),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(simd) => Simd::vectorize(simd, op),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(simd) => Simd::vectorize(simd, op),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(simd) => Simd::vectorize(simd, op),
        }
    }
}
