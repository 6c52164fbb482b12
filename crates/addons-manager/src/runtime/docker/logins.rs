//! Logins of registries as pulls use them: found by the registry of an image, and read anew when a file of theirs has changed, so that a
//! corrected password needs no restart.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bollard::auth::DockerCredentials;
use secrecy::{ExposeSecret as _, SecretString};

/// How to log in to a registry.
#[derive(Debug, Clone)]
pub enum RegistryLogin {
    /// Name and password.
    Password {
        /// The account.
        username: String,
        /// Its password or access token.
        password: SecretString,
    },
    /// What `docker login` leaves in `config.json` for registries with token logins.
    IdentityToken(SecretString),
}

/// What reads the files: every login, or in words why not, without a secret.
type Read = dyn Fn() -> Result<BTreeMap<String, RegistryLogin>, String> + Send + Sync;

/// Where logins come from.
#[derive(Clone)]
pub struct LoginFiles {
    files: Vec<PathBuf>,
    read: Arc<Read>,
}

impl LoginFiles {
    /// Logins that `read` finds in `files`.
    pub fn new(
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<BTreeMap<String, RegistryLogin>, String> + Send + Sync + 'static,
    ) -> Self {
        Self { files, read: Arc::new(read) }
    }
}

impl fmt::Debug for LoginFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginFiles").field("files", &self.files).finish_non_exhaustive()
    }
}

/// The logins of today.
pub(super) struct Logins {
    source: Option<LoginFiles>,
    last: Mutex<(u64, Arc<BTreeMap<String, RegistryLogin>>)>,
}

impl Logins {
    /// `logins` are those that were read at first.
    pub(super) fn new(logins: BTreeMap<String, RegistryLogin>, source: Option<LoginFiles>) -> Self {
        let fingerprint = fingerprint(source.as_ref());
        Self { source, last: Mutex::new((fingerprint, Arc::new(logins))) }
    }

    /// Another number when a file was changed.
    pub(super) fn fingerprint(&self) -> u64 {
        fingerprint(self.source.as_ref())
    }

    /// Every login, read anew where a file was changed. What cannot be read leaves the logins as they were.
    pub(super) fn current(&self) -> Arc<BTreeMap<String, RegistryLogin>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.fingerprint();
        if let Some(source) = self.source.as_ref().filter(|_| last.0 != now) {
            match (source.read)() {
                Ok(logins) => {
                    tracing::info!("the logins of registries were read anew");
                    last.1 = Arc::new(logins);
                }
                Err(error) => {
                    tracing::warn!(
                        error,
                        "the logins of registries cannot be read; those from before are used"
                    );
                }
            }
            last.0 = now;
        }
        Arc::clone(&last.1)
    }
}

fn fingerprint(source: Option<&LoginFiles>) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for file in source.iter().flat_map(|source| &source.files) {
        let facts = std::fs::metadata(file).ok();
        // A file that is put in place of another may have its length and time.
        facts.map(|facts| (facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec())).hash(&mut hasher);
    }
    hasher.finish()
}

/// The login for the registry of a repository, if there is one.
pub(super) fn credentials(
    logins: &BTreeMap<String, RegistryLogin>,
    repository: &str,
) -> Option<DockerCredentials> {
    let registry = registry_of(repository);
    let login = logins.iter().find(|(host, _)| registry_key(host) == registry)?.1;
    let serveraddress =
        Some(if registry == HUB { "https://index.docker.io/v1/".to_owned() } else { registry.to_owned() });
    Some(match login {
        RegistryLogin::Password { username, password } => DockerCredentials {
            username: Some(username.clone()),
            password: Some(password.expose_secret().to_owned()),
            serveraddress,
            ..DockerCredentials::default()
        },
        RegistryLogin::IdentityToken(token) => DockerCredentials {
            identitytoken: Some(token.expose_secret().to_owned()),
            serveraddress,
            ..DockerCredentials::default()
        },
    })
}

const HUB: &str = "docker.io";

/// As Docker reads references: the first part is a host when it has a dot, a colon, or is `localhost`.
fn registry_of(repository: &str) -> &str {
    match repository.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => registry_key(host),
        _ => HUB,
    }
}

/// A registry as a configuration names it: with a scheme and a path (`https://index.docker.io/v1/`), or by its host alone.
fn registry_key(name: &str) -> &str {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    let host = name.split('/').next().unwrap_or(name);
    match host {
        "index.docker.io" | "registry-1.docker.io" => HUB,
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_however_the_registry_is_written() {
        let password =
            || RegistryLogin::Password { username: "me".to_owned(), password: SecretString::from("x") };
        let logins = BTreeMap::from([
            ("https://index.docker.io/v1/".to_owned(), password()),
            ("localhost:5000".to_owned(), RegistryLogin::IdentityToken(SecretString::from("t"))),
        ]);
        let hub = credentials(&logins, "docker.io/library/nginx").expect("a login");
        assert_eq!(
            (hub.username.as_deref(), hub.serveraddress.as_deref()),
            (Some("me"), Some("https://index.docker.io/v1/"))
        );
        assert!(credentials(&logins, "library/nginx").is_some());
        let local = credentials(&logins, "localhost:5000/x/y").expect("a login");
        assert_eq!(
            (local.identitytoken.as_deref(), local.serveraddress.as_deref()),
            (Some("t"), Some("localhost:5000"))
        );
        assert!(credentials(&logins, "ghcr.io/x/y").is_none());
        assert!(credentials(&logins, "localhost:5001/x").is_none());
    }

    #[test]
    fn a_file_that_was_changed_is_read_anew_and_one_that_cannot_be_read_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        std::fs::write(&path, "wrong").expect("written");
        let read = {
            let path = path.clone();
            move || {
                let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
                Ok(BTreeMap::from([("r".to_owned(), RegistryLogin::IdentityToken(SecretString::from(text)))]))
            }
        };
        let source = LoginFiles::new(vec![path.clone()], read.clone());
        assert!(!format!("{source:?}").contains("wrong"));
        let logins = Logins::new(read().expect("read"), Some(source));
        let token = |logins: &Logins| match &logins.current()["r"] {
            RegistryLogin::IdentityToken(token) => token.expose_secret().to_owned(),
            other => panic!("{other:?}"),
        };
        let before = logins.fingerprint();
        assert_eq!((token(&logins).as_str(), logins.fingerprint()), ("wrong", before));
        std::fs::write(&path, "corrected").expect("written");
        assert_ne!(logins.fingerprint(), before);
        assert_eq!(token(&logins), "corrected");
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(token(&logins), "corrected");
        // As an editor does it: another file in the place of the old one, of the same length.
        std::fs::write(folder.path().join("new"), "corrEcted").expect("written");
        std::fs::rename(folder.path().join("new"), &path).expect("renamed");
        assert_eq!(token(&logins), "corrEcted");
    }
}
