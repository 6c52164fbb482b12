//! Logins of registries for pulls: from `[registries."host"]`, and from a Docker `config.json` for those that are not named there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde::Deserialize;
use service_kit::config::Registries;

use crate::runtime::docker::RegistryLogin;

/// A login that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A file cannot be read.
    #[error("{setting} names {}, which cannot be read", path.display())]
    Read {
        /// The setting that names it.
        setting: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A user without a password, or a password without a user.
    #[error("registries.\"{host}\" needs both user and password_file, or neither")]
    Half {
        /// The registry.
        host: String,
    },
    /// The file is no Docker configuration.
    #[error("docker.config_file names {}, which is no Docker config.json: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong; nothing secret.
        reason: String,
    },
}

/// Every login, by the registry's host as both files write it.
///
/// # Errors
/// [`LoginError`] for the first that cannot be used.
pub fn logins(
    registries: &Registries,
    config_file: Option<&Path>,
) -> Result<BTreeMap<String, RegistryLogin>, LoginError> {
    let mut logins = match config_file {
        Some(path) => of_docker(path)?,
        None => BTreeMap::new(),
    };
    for (host, settings) in registries {
        if settings.mirror.is_some() {
            tracing::warn!(
                registry.host = host,
                "`mirror` of a registry is the engine's own business for pulls: set registry-mirrors in its daemon.json"
            );
        }
        if !settings.publishers.is_empty() || !settings.addons.is_empty() {
            tracing::warn!(
                registry.host = host,
                "`publishers` and `addons` of a registry say what a marketplace uses its login for: here it is used for every pull"
            );
        }
        match (&settings.user, &settings.password_file) {
            (None, None) => (),
            (Some(user), Some(path)) => {
                let setting = format!("registries.\"{host}\".password_file");
                let password = std::fs::read_to_string(path).map_err(|source| LoginError::Read {
                    setting,
                    path: path.clone(),
                    source,
                })?;
                let password = SecretString::from(password.trim_end_matches(['\r', '\n']));
                logins.insert(host.clone(), RegistryLogin::Password { username: user.clone(), password });
            }
            _ => return Err(LoginError::Half { host: host.clone() }),
        }
    }
    Ok(logins)
}

fn of_docker(path: &Path) -> Result<BTreeMap<String, RegistryLogin>, LoginError> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        auths: BTreeMap<String, Entry>,
        #[serde(default, rename = "credsStore")]
        store: Option<String>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        auth: Option<String>,
        #[serde(default, rename = "identitytoken")]
        identity_token: Option<String>,
    }
    let malformed = |reason: String| LoginError::Malformed { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|source| LoginError::Read {
        setting: "docker.config_file".to_owned(),
        path: path.to_owned(),
        source,
    })?;
    // The parser's own words may quote a password: only the place is told.
    let file: File = serde_json::from_str(&text)
        .map_err(|error| malformed(format!("line {}, column {}", error.line(), error.column())))?;
    if file.store.is_some() {
        tracing::warn!(file = %path.display(), "its logins lie in a credential store that this manager cannot ask; use [registries.\"host\"]");
    }
    let mut logins = BTreeMap::new();
    for (host, entry) in file.auths {
        let host = host
            .trim_start_matches("https://")
            .trim_start_matches("http://")
            .split('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        if let Some(token) = entry.identity_token.filter(|token| !token.is_empty()) {
            logins.insert(host, RegistryLogin::IdentityToken(SecretString::from(token)));
        } else if let Some(auth) = entry.auth.filter(|auth| !auth.is_empty()) {
            let decoded = STANDARD.decode(&auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let decoded = decoded.ok_or_else(|| malformed(format!("the login of {host} is not base64")))?;
            let (username, password) = decoded
                .split_once(':')
                .ok_or_else(|| malformed(format!("the login of {host} has no password")))?;
            let login = RegistryLogin::Password {
                username: username.to_owned(),
                password: SecretString::from(password.trim_end_matches('\0')),
            };
            logins.insert(host, login);
        }
    }
    Ok(logins)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use service_kit::config::RegistrySettings;

    use super::*;

    fn user_of(login: &RegistryLogin) -> (&str, &str) {
        match login {
            RegistryLogin::Password { username, password } => (username, password.expose_secret()),
            RegistryLogin::IdentityToken(token) => ("", token.expose_secret()),
        }
    }

    #[test]
    fn logins_come_from_both_files_and_ours_wins() {
        let folder = tempfile::tempdir().unwrap();
        let (password, docker) = (folder.path().join("password"), folder.path().join("config.json"));
        std::fs::write(&password, "geheim\n").unwrap();
        let text = format!(
            r#"{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{}"}}, "quay.io": {{"auth": "{}"}}, "ghcr.io": {{"identitytoken": "t"}}, "x": {{}}}}}}"#,
            STANDARD.encode("hub:one:two"),
            STANDARD.encode("old:word")
        );
        std::fs::write(&docker, text).unwrap();
        let ours = RegistrySettings {
            user: Some("me".to_owned()),
            password_file: Some(password),
            ..RegistrySettings::default()
        };
        let logins = logins(&[("quay.io".to_owned(), ours)].into(), Some(&docker)).unwrap();
        assert_eq!(user_of(&logins["quay.io"]), ("me", "geheim"));
        assert_eq!(user_of(&logins["index.docker.io"]), ("hub", "one:two"));
        assert_eq!(user_of(&logins["ghcr.io"]), ("", "t"));
        assert_eq!(logins.len(), 3);
    }

    #[test]
    fn what_cannot_be_used_is_said_without_its_secret() {
        let folder = tempfile::tempdir().unwrap();
        let half = RegistrySettings { user: Some("me".to_owned()), ..RegistrySettings::default() };
        let fault = logins(&[("a".to_owned(), half.clone())].into(), None).unwrap_err().to_string();
        assert!(fault.contains("password_file"), "{fault}");
        let gone = RegistrySettings { password_file: Some(folder.path().join("none")), ..half };
        assert!(
            logins(&[("a".to_owned(), gone)].into(), None)
                .unwrap_err()
                .to_string()
                .contains("registries.\"a\".password_file")
        );
        for text in ["{\"auths\": \"geheim\"}", "{\"auths\": {\"a\": {\"auth\": \"geheim!\"}}}", "geheim"] {
            let path = folder.path().join("config.json");
            std::fs::write(&path, text).unwrap();
            let fault = logins(&Registries::new(), Some(&path)).unwrap_err().to_string();
            assert!(fault.contains("docker.config_file") && !fault.contains("geheim"), "{fault}");
        }
    }
}
