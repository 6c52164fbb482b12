//! Who we are at a registry, and reading that from a Docker `config.json`.

use std::collections::BTreeMap;

use base64::Engine as _;
use secrecy::SecretString;
use serde::Deserialize;

/// A user and a password or access token.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The password; never printed.
    pub password: SecretString,
}

/// The file is no Docker configuration that can be used.
#[derive(Debug, thiserror::Error)]
pub enum DockerConfigError {
    /// Not JSON, or not of that form.
    #[error("the Docker configuration cannot be read")]
    Malformed(#[source] serde_json::Error),
    /// The entry is neither `user:password` in base64 nor the two in plain.
    #[error(
        "the entry of {host} in the Docker configuration has no user and password; run `docker login {host}` with a file store, or name them under [registries.\"{host}\"]"
    )]
    Unusable {
        /// The registry.
        host: String,
    },
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// Reads the `auths` of a Docker `config.json`: credentials by `host[:port]`.
///
/// # Errors
/// A file of another form, and an entry whose credentials lie in a credential store, which only Docker's own helper
/// programs can open.
pub fn docker_config(text: &str) -> Result<BTreeMap<String, Credentials>, DockerConfigError> {
    let config: DockerConfig = serde_json::from_str(text).map_err(DockerConfigError::Malformed)?;
    let mut found = BTreeMap::new();
    for (key, entry) in config.auths {
        let host = registry_of(&key);
        let pair = entry.pair().ok_or_else(|| DockerConfigError::Unusable { host: host.clone() })?;
        found.insert(host, Credentials { user: pair.0, password: pair.1.into() });
    }
    Ok(found)
}

impl Entry {
    fn pair(self) -> Option<(String, String)> {
        if let (Some(user), Some(password)) = (self.username, self.password) {
            return Some((user, password));
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(self.auth?.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        (!user.is_empty()).then(|| (user.to_owned(), password.trim_end_matches('\0').to_owned()))
    }
}

/// Keys may be addresses: `https://index.docker.io/v1/` is Docker Hub.
fn registry_of(key: &str) -> String {
    let host = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default().to_ascii_lowercase();
    if matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io") {
        "docker.io".to_owned()
    } else {
        host
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn entries_are_found_by_host() {
        // user:pass:word and me:secret
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "dXNlcjpwYXNzOndvcmQ="},
            "Reg.example:5000": {"username": "me", "password": "secret"}
        }, "credsStore": "x", "HttpHeaders": {}}"#;
        let found = docker_config(text).unwrap();
        assert_eq!(found["docker.io"].user, "user");
        assert_eq!(found["docker.io"].password.expose_secret(), "pass:word");
        assert_eq!(found["reg.example:5000"].password.expose_secret(), "secret");
        assert!(!format!("{found:?}").contains("secret"));
    }

    #[test]
    fn an_entry_in_a_credential_store_is_said_to_be_unusable() {
        let error = docker_config(r#"{"auths": {"ghcr.io": {}}}"#).unwrap_err();
        assert!(error.to_string().contains("docker login ghcr.io"), "{error}");
        assert!(docker_config(r#"{"auths": {"ghcr.io": {"auth": "!!"}}}"#).is_err());
        assert!(docker_config("7").is_err());
        assert!(docker_config("{}").unwrap().is_empty());
    }
}
