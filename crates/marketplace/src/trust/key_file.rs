//! The private key on the disk: PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it too (RFC 8410: version 1,
//! without the public key, which OpenSSL before 3.0 does not read beside it), readable by its owner alone. Never logged; what was read is wiped.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use addon_client::trust::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use zeroize::{Zeroize as _, Zeroizing};

/// Name of the file in the state folder, where no other is configured.
pub const NAME: &str = "signing-key.pem";

/// Longest file that is read as a key, in bytes: one of ours has 120.
const MAX_BYTES: u64 = 16 * 1024;

/// Why there is no key. Messages name the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is no such file.
    #[error("there is no key file {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others can read it.
    #[error(
        "the key file {0} can be read by others on this machine (mode {mode:04o}): whoever has it can sign as this \
         marketplace. Make it its owner's alone: chmod 600 {0}; if others may have read it, change the key: marketplace keys rotate",
        path.display()
    )]
    Wide {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no file of a key.
    #[error(
        "the key file {} holds no ed25519 private key in PEM (PKCS#8), as openssl genpkey -algorithm ed25519 writes one",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("the key file {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be written.
    #[error("the key file {} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Reads a key.
///
/// # Errors
/// See [`KeyFileError`].
pub fn load(path: &Path) -> Result<SigningKey, KeyFileError> {
    let unreadable = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => KeyFileError::Missing { path: path.to_owned() },
        _ => KeyFileError::Read { path: path.to_owned(), source },
    };
    let no_key = || KeyFileError::NoKey { path: path.to_owned() };
    // Not blocking: a pipe of that name would wait for its writer.
    let mut file = OpenOptions::new().read(true).custom_flags(NON_BLOCKING).open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(no_key());
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Wide { path: path.to_owned(), mode });
    }
    // Room for all of it at once: a text that grows leaves copies behind.
    let mut text = Zeroizing::new(vec![0; usize::try_from(metadata.len()).expect("it is small")]);
    file.read_exact(&mut text).map_err(unreadable)?;
    let text = std::str::from_utf8(&text).map_err(|_| no_key())?;
    SigningKey::from_pkcs8_pem(text).map_err(|_| no_key())
}

/// `O_NONBLOCK` of Linux.
const NON_BLOCKING: i32 = 0o4000;

/// Makes a key.
pub fn generate() -> SigningKey {
    SigningKey::from_bytes(&Zeroizing::new(service_kit::random::bytes()))
}

/// Writes a key into a file that is not there yet, durably, readable by its owner alone; by the owner of `like`, where
/// that is another than who runs this.
///
/// # Errors
/// [`KeyFileError::Write`].
pub fn create(path: &Path, key: &SigningKey, like: Option<&Path>) -> Result<(), KeyFileError> {
    let mut bytes = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    let text = bytes.to_pkcs8_pem(LineEnding::LF).expect("a key can be written");
    bytes.secret_key.zeroize();
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        if let Some(like) = like.and_then(|like| std::fs::metadata(like).ok()) {
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
                std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()))?;
            }
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        sync_folder(path)
    };
    write().map_err(|source| KeyFileError::Write { path: path.to_owned(), source })
}

/// Puts the key in `new` at the place of the one in `path`, which goes on under the name `old`. At every moment there is a
/// key at `path`.
///
/// # Errors
/// [`KeyFileError::Write`].
pub fn replace(path: &Path, new: &Path, old: &Path) -> Result<(), KeyFileError> {
    let swap = || {
        match std::fs::hard_link(path, old) {
            Err(error) if error.kind() == ErrorKind::NotFound => (),
            done => done?,
        }
        rename(new, path)
    };
    swap().map_err(|source| KeyFileError::Write { path: path.to_owned(), source })
}

/// Puts the key in `new` where there is none yet.
///
/// # Errors
/// [`KeyFileError::Write`].
pub fn place(path: &Path, new: &Path) -> Result<(), KeyFileError> {
    rename(new, path).map_err(|source| KeyFileError::Write { path: path.to_owned(), source })
}

fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::rename(from, to)?;
    sync_folder(to)
}

/// The names in a folder are as durable as the folder is written.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        assert!(matches!(load(&path), Err(KeyFileError::Missing { .. })));
        let key = generate();
        create(&path, &key, None).unwrap();
        assert_eq!(load(&path).unwrap(), key);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(
            matches!(create(&path, &generate(), None), Err(KeyFileError::Write { .. })),
            "none is written over"
        );
        assert_eq!(load(&path).unwrap(), key);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        create(&path, &generate(), None).unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let said = load(&path).unwrap_err().to_string();
            assert!(said.contains(&format!("{mode:04o}")) && said.contains("chmod 600"), "{said}");
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert!(load(&path).is_ok());
    }

    #[test]
    fn what_is_no_key_is_said_without_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        for text in [
            &b""[..],
            b"geheim",
            b"-----BEGIN PRIVATE KEY-----\ngeheim\n-----END PRIVATE KEY-----\n",
            &[0xff; 20_000],
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let error = load(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::NoKey { .. }), "{error}");
            assert!(!format!("{error} {error:?}").contains("geheim"));
        }
        assert!(matches!(load(folder.path()), Err(KeyFileError::NoKey { .. })));
    }

    #[test]
    fn a_key_of_openssl_is_one() {
        // openssl genpkey -algorithm ed25519; the private key of RFC 8410, section 10.3.
        let text = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let public = addon_client::trust::PublicKey::of(&load(&path).unwrap());
        assert_eq!(public.to_string(), "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=");
    }

    #[test]
    fn a_key_is_written_as_every_openssl_reads_it_and_one_with_its_public_half_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let [path, older] = ["a.pem", "older.pem"].map(|name| folder.path().join(name));
        let key = generate();
        create(&path, &key, None).unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        // The beginning of a key of version 1 for ed25519: 46 bytes and no public key behind the private one.
        assert!(written.contains("\nMC4CAQAwBQYDK2VwBCIEI"), "version 1");
        std::fs::write(&older, key.to_pkcs8_pem(LineEnding::LF).unwrap().as_bytes()).unwrap();
        std::fs::set_permissions(&older, Permissions::from_mode(0o600)).unwrap();
        assert_ne!(written, std::fs::read_to_string(&older).unwrap());
        assert_eq!(load(&older).unwrap(), key);
    }

    #[test]
    fn a_new_key_takes_the_place_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let [path, new, old] = ["key", "key.new", "key.old"].map(|name| folder.path().join(name));
        let keys = [generate(), generate()];
        create(&path, &keys[0], None).unwrap();
        create(&new, &keys[1], Some(&path)).unwrap();
        replace(&path, &new, &old).unwrap();
        assert_eq!((load(&path).unwrap(), load(&old).unwrap()), (keys[1].clone(), keys[0].clone()));
        assert!(!new.exists());
    }
}
