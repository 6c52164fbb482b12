//! How much of the host a service may use.

use serde::{Serialize, Serializer};

use crate::quantity::Decimal;

/// Limits of a service. Sizes are bytes; `None` is no limit, or the host's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Most memory; at least 6 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// What the service keeps when memory is short; not above `memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<u64>,
    /// Memory and swap together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<MemorySwap>,
    /// Size of `/dev/shm`; `None`: the engine's, 64 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<u64>,
    /// Processors, in parts: above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Which processors: `0-2,4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
    /// Most processes and threads; `None`: the host's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// Memory and swap together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemorySwap {
    /// As much swap as the host has, written `-1`.
    Unlimited,
    /// Bytes; not below `memory`.
    Bytes(u64),
}

impl MemorySwap {
    /// As the engine has it: bytes, or -1.
    pub fn as_engine_value(self) -> i64 {
        match self {
            Self::Unlimited => -1,
            Self::Bytes(bytes) => i64::try_from(bytes).expect("sizes are at most 2^53 - 1"),
        }
    }
}

impl Serialize for MemorySwap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.as_engine_value())
    }
}

/// A number of processors: a decimal with at most nine places, above 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Cpus(pub(crate) Decimal);

impl Cpus {
    /// Billionths of a processor, as the engine counts.
    pub fn nano_cpus(&self) -> i64 {
        self.0.nano().expect("checked when it was read")
    }
}

impl std::fmt::Display for Cpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One kernel limit; -1 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ulimit {
    /// What applies.
    pub soft: i64,
    /// What it may be raised to; not below `soft`.
    pub hard: i64,
}

impl Serialize for Ulimit {
    /// A number when both are the same, else `{"soft", "hard"}`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Both {
            soft: i64,
            hard: i64,
        }
        if self.soft == self.hard {
            serializer.serialize_i64(self.soft)
        } else {
            Both { soft: self.soft, hard: self.hard }.serialize(serializer)
        }
    }
}
