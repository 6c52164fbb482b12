//! The state folder: database, the files of addons, who this manager is, and the lock that keeps a second manager off.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ipnet::Ipv6Net;
use service_kit::random;
use sha2::{Digest as _, Sha256};

use crate::resolve::choose::ula_prefix;

/// The database, inside the folder.
const DATABASE: &str = "addons-manager.db";
/// Who this manager is, inside the folder: beside the database, so that both are restored together.
const ID: &str = "manager-id";
/// Held while a manager runs; holds who does.
const LOCK: &str = "lock";

/// The folder of a manager that runs. The lock is given back when this is dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    manager_id: String,
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Something in it cannot be read or written.
    #[error("the state folder cannot be used: {}", path.display())]
    Unusable {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another manager runs on it.
    #[error(
        "the state folder {} is in use by another addons manager{}: stop that one, or set another state_dir",
        path.display(),
        if holder.is_empty() { String::new() } else { format!(" ({holder})") }
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// What that one says of itself.
        holder: String,
    },
    /// The file with the manager's id does not hold one.
    #[error("{} does not hold a manager's id (32 hex digits): put the right one back, or delete the file to begin anew", path.display())]
    NoId {
        /// The file.
        path: PathBuf,
    },
}

impl StateFolder {
    /// Makes the folder where it is missing (for its owner only), takes its lock and reads, or makes up, the manager's id.
    ///
    /// # Errors
    /// [`StateError`] when another manager has it or it cannot be written.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Unusable { path, source }
        };
        service_kit::config::prepare_state_dir(&path).map_err(unusable(&path))?;
        let mode = std::fs::metadata(&path).map_err(unusable(&path))?.permissions().mode();
        if mode & 0o077 != 0 {
            // Files of addons are written there with the modes that they ask for: nobody else may come in.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))
                .map_err(unusable(&path))?;
        }
        let lock = lock(&path)?;
        let manager_id = manager_id(&path.join(ID))?;
        Ok(Self { path, manager_id, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database lies.
    pub fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Who this manager is: 32 hex digits, the same for the life of the state.
    pub fn manager_id(&self) -> &str {
        &self.manager_id
    }

    /// The host's own /48 of IPv6, which follows from the random id.
    pub fn ula(&self) -> Ipv6Net {
        let hash = Sha256::digest(format!("ula {}", self.manager_id));
        let mut random = [0; 5];
        random.copy_from_slice(&hash[..5]);
        ula_prefix(random)
    }
}

/// Where the database of a state folder lies, for commands that run beside a manager.
pub fn database_in(folder: &Path) -> PathBuf {
    folder.join(DATABASE)
}

fn lock(folder: &Path) -> Result<File, StateError> {
    let path = folder.join(LOCK);
    let unusable = |source| StateError::Unusable { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => (),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who it is helps, and is not needed to refuse.
            file.read_to_string(&mut holder).unwrap_or_default();
            return Err(StateError::InUse { path: folder.to_owned(), holder: holder.trim().to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(unusable(source)),
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let holder = format!("process {} on {}\n", std::process::id(), host.trim());
    file.set_len(0).map_err(unusable)?;
    file.rewind().map_err(unusable)?;
    file.write_all(holder.as_bytes()).map_err(unusable)?;
    Ok(file)
}

fn manager_id(path: &Path) -> Result<String, StateError> {
    let unusable = |source| StateError::Unusable { path: path.to_owned(), source };
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let id = text.trim();
            let is_id = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if is_id { Ok(id.to_owned()) } else { Err(StateError::NoId { path: path.to_owned() }) }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id: String = random::bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
            // Written whole under another name first: a crash leaves no half of an id.
            let draft = path.with_extension("new");
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)
                .map_err(unusable)?;
            file.write_all(format!("{id}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(unusable)?;
            std::fs::rename(&draft, path).map_err(unusable)?;
            Ok(id)
        }
        Err(error) => Err(unusable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_manager_is_refused_and_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let first = StateFolder::open(&path).unwrap();
        let refused = StateFolder::open(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        assert!(refused.contains("state_dir"), "{refused}");
        let id = first.manager_id().to_owned();
        drop(first);
        assert_eq!(StateFolder::open(&path).unwrap().manager_id(), id, "the id stays");
    }

    #[test]
    fn the_folder_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let state = StateFolder::open(&path).unwrap();
        assert_eq!(std::fs::metadata(state.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(state.path().join(ID)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_id_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(ID), "somebody\n").unwrap();
        assert!(matches!(StateFolder::open(folder.path()), Err(StateError::NoId { .. })));
    }

    #[test]
    fn the_ipv6_prefix_follows_from_the_id() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        assert_eq!(state.ula(), state.ula());
        assert_eq!(state.ula().prefix_len(), 48);
        assert!(state.ula().addr().octets()[0] == 0xfd);
    }
}
