//! Room on the engine's disk, as far as we can see it.
//!
//! An image needs about three times its compressed bytes: as they arrive, unpacked, and what unpacking takes meanwhile. Declared sizes bound
//! nothing (6 MB were seen to unpack to 4 GB), so the free space is watched during a pull as well.

use std::path::{Path, PathBuf};

/// How many bytes of disk one compressed byte may come to need.
const BYTES_FOR_EACH_COMPRESSED: u64 = 3;

/// The file system of the engine's root, when it is visible here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EngineDisk(Option<PathBuf>);

impl EngineDisk {
    /// `root` is the engine's own word. It says nothing of our file system unless the engine is on this machine, and nothing inside a
    /// container that has not got it mounted.
    pub(super) fn of(root: &str, engine_is_local: bool) -> Self {
        let path = Path::new(root);
        Self((engine_is_local && path.is_absolute() && path.is_dir()).then(|| path.to_owned()))
    }

    /// Bytes that are free; `None` when they cannot be seen.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let facts = nix::sys::statvfs::statvfs(self.0.as_ref()?).ok()?;
        Some(facts.blocks_available().saturating_mul(facts.fragment_size()))
    }
}

/// Why a pull must not begin, or must end; `None` when there is room.
pub(super) fn shortage(free: Option<u64>, missing: u64, reserve: u64) -> Option<String> {
    let free = free?;
    let needed = missing.saturating_mul(BYTES_FOR_EACH_COMPRESSED).saturating_add(reserve);
    (free < needed).then(|| {
        format!(
            "{} are free on the engine's disk, and {} are needed: three times the {} that are missing, above the reserve of {}; free some \
             space or lower disk.reserve",
            mebibytes(free),
            mebibytes(needed),
            mebibytes(missing),
            mebibytes(reserve)
        )
    })
}

/// Why a pull that is under way must end; `None` while there is room. Half of the reserve is left to it: what was measured before is an
/// estimate, and others write too.
pub(super) fn emergency(free: Option<u64>, reserve: u64) -> Option<String> {
    let free = free?;
    (free < reserve / 2).then(|| {
        format!(
            "cancelled: only {} were left on the engine's disk, less than half of the reserve of {}; free some space or lower disk.reserve",
            mebibytes(free),
            mebibytes(reserve)
        )
    })
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1024 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn three_times_the_missing_bytes_must_fit_above_the_reserve() {
        assert_eq!(shortage(Some(60 * MIB), 10 * MIB, 30 * MIB), None);
        let words = shortage(Some(60 * MIB - 1), 10 * MIB, 30 * MIB).expect("one byte short");
        assert!(words.contains("60 MiB are needed") || words.contains("60 MiB are free"), "{words}");
        assert_eq!(shortage(None, u64::MAX, u64::MAX), None, "what cannot be seen is no shortage");
        assert!(shortage(Some(u64::MAX - 1), u64::MAX, 1).is_some(), "no overflow");
    }

    #[test]
    fn half_of_the_reserve_is_the_end() {
        assert_eq!(emergency(Some(15 * MIB), 30 * MIB), None);
        assert!(emergency(Some(15 * MIB - 1), 30 * MIB).is_some());
        assert_eq!(emergency(None, 30 * MIB), None);
        assert_eq!(emergency(Some(0), 0), None, "no reserve, no end");
    }

    #[test]
    fn only_a_local_folder_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("UTF-8");
        assert!(EngineDisk::of(path, true).free_bytes().is_some_and(|free| free > 0));
        assert_eq!(EngineDisk::of(path, false).free_bytes(), None);
        assert_eq!(EngineDisk::of("/nowhere/at/all", true).free_bytes(), None);
        assert_eq!(EngineDisk::of("", true).free_bytes(), None);
    }
}
