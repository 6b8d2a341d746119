//! Instruction sets: what the machine has, and what the user allows.

use anyhow::{Result, bail};

/// An instruction set that this machine has; the values of the vector sets can only be made by
/// detecting them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

/// Proof that the machine has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

/// Proof that the machine has AVX-512 F.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512(());

/// Proof that the machine has NEON.
#[cfg(target_arch = "aarch64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neon(());

impl Isa {
    /// Every set of this machine, the slowest first.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Isa::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Isa::Avx2(Avx2(())));
            }
            if is_x86_feature_detected!("avx512f") {
                all.push(Isa::Avx512(Avx512(())));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            all.push(Isa::Neon(Neon(())));
        }
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
}
