//! Who we are at a registry, and reading that from a Docker `config.json`.

use std::collections::{BTreeMap, BTreeSet};

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

/// The file is no Docker configuration: not JSON, or not of that form.
#[derive(Debug, thiserror::Error)]
#[error("the Docker configuration cannot be read")]
pub struct DockerConfigError(#[from] serde_json::Error);

/// What a Docker `config.json` says about logins.
#[derive(Debug, Default)]
pub struct Logins {
    /// Credentials by `host[:port]`.
    pub usable: BTreeMap<String, Credentials>,
    /// Keys whose login lies elsewhere (in a credential store, with a helper program), is a token that only Docker trades
    /// in, or is for a part of a registry.
    pub unusable: BTreeSet<String>,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<String>,
}

/// Reads the logins of a Docker `config.json`. Entries that cannot be used are told: a file of somebody's desktop has some
/// of registries that are never asked.
///
/// # Errors
/// A file of another form.
pub fn docker_config(text: &str) -> Result<Logins, DockerConfigError> {
    let config: DockerConfig = serde_json::from_str(text)?;
    let mut logins = Logins::default();
    for (key, entry) in config.auths {
        match registry_of(&key).zip(entry.pair()) {
            Some((host, (user, password))) => {
                logins.usable.insert(host, Credentials { user, password: password.into() });
            }
            None => _ = logins.unusable.insert(key),
        }
    }
    logins.unusable.extend(config.helpers.into_keys());
    Ok(logins)
}

impl Entry {
    fn pair(self) -> Option<(String, String)> {
        let is_said = |text: &String| !text.is_empty();
        // What stands beside such a token is no password.
        if self.identity_token.is_some_and(|token| is_said(&token)) {
            return None;
        }
        if let (Some(user), Some(password)) = (self.username.filter(is_said), self.password.filter(is_said)) {
            return Some((user, password));
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(self.auth?.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        let password = password.trim_end_matches('\0');
        (!user.is_empty() && !password.is_empty()).then(|| (user.to_owned(), password.to_owned()))
    }
}

/// Keys may be addresses: `https://index.docker.io/v1/` is Docker Hub. `None` for a part of a registry.
fn registry_of(key: &str) -> Option<String> {
    let place = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    if !matches!(path.trim_end_matches('/'), "" | "v1" | "v2") {
        return None;
    }
    let host = host.to_ascii_lowercase();
    let is_hub = matches!(host.as_str(), "index.docker.io" | "registry-1.docker.io");
    Some(if is_hub { "docker.io".to_owned() } else { host })
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
        let found = docker_config(text).unwrap().usable;
        assert_eq!(found["docker.io"].user, "user");
        assert_eq!(found["docker.io"].password.expose_secret(), "pass:word");
        assert_eq!(found["reg.example:5000"].password.expose_secret(), "secret");
        assert!(!format!("{found:?}").contains("secret"));
    }

    #[test]
    fn what_cannot_be_used_is_told_and_keeps_nothing_else_from_being_used() {
        // 00000000:, me:secret
        let text = r#"{"auths": {
            "ghcr.io": {}, "a.example": {"auth": "!!"}, "b.example": {"auth": "bWU6"},
            "x.azurecr.example": {"auth": "MDAwMDAwMDA6", "identitytoken": "abc"},
            "y.azurecr.example": {"auth": "bWU6c2VjcmV0", "identitytoken": "abc"},
            "c.example/team": {"auth": "bWU6c2VjcmV0"},
            "d.example": {"username": "", "password": "", "auth": "bWU6c2VjcmV0"},
            "https://e.example/v2/": {"auth": "bWU6c2VjcmV0", "identitytoken": ""}
        }, "credHelpers": {"ecr.example": "ecr-login"}}"#;
        let logins = docker_config(text).unwrap();
        assert_eq!(logins.usable.keys().collect::<Vec<_>>(), ["d.example", "e.example"]);
        assert_eq!(logins.usable["d.example"].user, "me");
        let unusable: Vec<&str> = logins.unusable.iter().map(String::as_str).collect();
        assert_eq!(
            unusable,
            [
                "a.example",
                "b.example",
                "c.example/team",
                "ecr.example",
                "ghcr.io",
                "x.azurecr.example",
                "y.azurecr.example"
            ]
        );
        assert!(docker_config("7").is_err());
        assert!(docker_config("{}").unwrap().usable.is_empty());
    }
}
