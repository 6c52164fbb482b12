//! What works and is unwise: warnings.

use crate::descriptor::{FileSource, HealthTest};
use crate::parameters::references;
use crate::quantity::parse_duration;
use crate::read::document::DocumentRead;
use crate::read::report::{At, shown};
use crate::read::service::ServiceRead;
use crate::read::tree::Kind;
use crate::rules;

pub(super) fn check(document: &DocumentRead<'_>) {
    let has_parameters = document.scope.declares_parameters();
    for service in &document.services {
        image(service);
        health(service);
        limits(service);
        user(service);
        secrets(service, has_parameters);
        for (field, words) in [("command", &service.spec.command), ("entrypoint", &service.spec.entrypoint)] {
            secret_words(service.fields.place(field), words, has_parameters);
        }
    }
}

fn image(service: &ServiceRead<'_>) {
    let image = &service.spec.image;
    if !service.is_image_readable {
        return;
    }
    if image.digest().is_none() && image.tag().is_none_or(|tag| tag == "latest") {
        let message = match image.tag() {
            Some(_) => "what `latest` means changes; a version's own tag does not",
            None => "without a tag it is `latest`, and what that means changes",
        };
        service.fields.place("image").warn(rules::MOVING_TAG, message, None);
    }
}

/// A job tells by its end whether it worked.
fn health(service: &ServiceRead<'_>) {
    if service.spec.restart.is_job() {
        return;
    }
    let message =
        "without a healthcheck only a crash is noticed, unless the image has a HEALTHCHECK of its own";
    let none = "with its healthcheck turned off only a crash is noticed";
    match (service.spec.healthcheck.as_ref().map(|check| &check.test), service.fields.get("healthcheck")) {
        (Some(HealthTest::Command(_) | HealthTest::Shell(_)), _) => (),
        // One that could not be read has been reported.
        (None | Some(HealthTest::Image), Some(at)) if !matches!(at.node.kind, Kind::Object(_)) => (),
        (None | Some(HealthTest::Image), Some(at)) if at.member("test").is_some_and(says_something) => (),
        (Some(HealthTest::Image), Some(at)) => {
            let message =
                "without a `test` it is the image's own, and where that has none only a crash is noticed";
            at.warn_missing("test", rules::NO_HEALTHCHECK, message);
        }
        (Some(HealthTest::Disabled), Some(at)) => at.warn(rules::NO_HEALTHCHECK, none, None),
        (_, Some(at)) => at.warn(rules::NO_HEALTHCHECK, message, None),
        (_, None) => service.fields.at.warn_missing("healthcheck", rules::NO_HEALTHCHECK, message),
    }
}

fn says_something(at: At<'_>) -> bool {
    match &at.node.kind {
        Kind::Null => false,
        Kind::Text(text) => !text.is_empty(),
        Kind::List(nodes) => !nodes.is_empty(),
        Kind::Boolean(_) | Kind::Number(_) | Kind::Object(_) => true,
    }
}

fn limits(service: &ServiceRead<'_>) {
    if service.spec.resources.memory.is_none() {
        let message = "without a limit the service may use all memory of the host";
        match service.fields.get("resources") {
            // What could not be read has been reported.
            Some(at) if !matches!(at.node.kind, Kind::Object(_)) => (),
            Some(at) if at.member("memory").is_some_and(says_something) => (),
            Some(at) => at.warn_missing("memory", rules::NO_MEMORY_LIMIT, message),
            None => service.fields.at.warn_missing("resources", rules::NO_MEMORY_LIMIT, message),
        }
    }
}

fn user(service: &ServiceRead<'_>) {
    let user = service.spec.user.as_deref().and_then(|user| user.split(':').next());
    if user.is_some_and(|user| user == "root" || user.parse() == Ok(0_u32)) {
        service.fields.place("user").warn(
            rules::ROOT_USER,
            "the service runs as root inside its container",
            None,
        );
    }
}

/// Values that stand in the open and look as if they should not.
fn secrets(service: &ServiceRead<'_>, has_parameters: bool) {
    for (key, value) in &service.spec.environment {
        let is_reference = has_parameters && references(value).next().is_some();
        if !is_reference && looks_like_secret(key, value) {
            let message = format!("`{key}` looks like a secret, and a descriptor is public");
            let suggestion = "a parameter of type `secret`, which may be generated".to_owned();
            service.fields.place("environment").entry(key).warn(
                rules::LOOKS_LIKE_SECRET,
                message,
                Some(suggestion),
            );
        }
    }
    for (key, value) in &service.spec.labels {
        if looks_like_secret(key, value) {
            let message =
                format!("the label `{}` looks like a secret, and a descriptor is public", shown(key));
            service.fields.place("labels").entry(key).warn(rules::LOOKS_LIKE_SECRET, message, None);
        }
    }
    for (file, at) in &service.files {
        if let FileSource::Content(content) = &file.source
            && is_private_key(content)
        {
            let message = format!("the file `{}` holds a private key, and a descriptor is public", file.path);
            at.entry("content").warn(rules::LOOKS_LIKE_SECRET, message, None);
        }
    }
}

/// Words of a command that hold a secret: by their form, as `--name=value` or `NAME=value`, or behind a `--name`.
fn secret_words(at: At<'_>, words: &[String], has_parameters: bool) {
    let mut places = at.all_items();
    let mut flag: Option<&str> = None;
    for word in words {
        // A line that was split stands in one place.
        let place = places.next().unwrap_or(at);
        let name = flag.take();
        let is_flag = word.starts_with('-');
        let (key, value) = match (word.split_once('='), name) {
            (_, Some(name)) if !is_flag => (name, word.as_str()),
            (Some((key, value)), _) if is_variable(key.trim_start_matches('-')) => (key, value),
            _ => ("", word.as_str()),
        };
        if is_flag && key.is_empty() {
            flag = Some(word);
        }
        let key = key.trim_start_matches('-').replace('-', "_");
        let is_reference = has_parameters && references(value).next().is_some();
        // What a shell puts in is not in the descriptor.
        let is_secret = !is_reference && !value.starts_with('$') && looks_like_secret(&key, value);
        if is_secret {
            let what = if key.is_empty() { "a word".to_owned() } else { format!("`{}`", shown(&key)) };
            let message = format!("{what} of the command looks like a secret, and a descriptor is public");
            let suggestion = "a parameter of type `secret`, which may be generated".to_owned();
            place.warn(rules::LOOKS_LIKE_SECRET, message, Some(suggestion));
        }
    }
}

fn is_variable(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// By its name, unless that or the value says that it is only about one; or by the form of the value.
fn looks_like_secret(key: &str, value: &str) -> bool {
    const PARTS: [&str; 10] = [
        "PASSWORD",
        "PASSWD",
        "REQUIREPASS",
        "PWD",
        "SECRET",
        "API_KEY",
        "APIKEY",
        "PRIVATE_KEY",
        "ACCESS_KEY",
        "ENCRYPTION_KEY",
    ];
    const WORDS: [&str; 4] = ["PASS", "TOKEN", "CREDENTIALS", "AUTH"];
    const ABOUT: [&str; 13] = [
        "_FILE", "_PATH", "_URL", "_DIR", "_NAME", "_TTL", "_EXPIRY", "_LENGTH", "_TYPE", "_HEADER",
        "_ISSUER", "_ENABLED", "_POLICY",
    ];
    if has_form_of_secret(value) {
        return true;
    }
    let key = key.to_ascii_uppercase();
    let is_about = ABOUT.iter().any(|end| key.ends_with(end)) || value.starts_with('/');
    let is_setting = matches!(
        value.to_ascii_lowercase().as_str(),
        "" | "true" | "false" | "yes" | "no" | "on" | "off" | "none" | "0" | "1"
    ) || parse_duration(value).is_ok();
    let is_named_so = PARTS.iter().any(|part| key.contains(part))
        || key.split(['_', '-', '.']).any(|word| WORDS.contains(&word));
    is_named_so && !is_about && !is_setting
}

fn has_form_of_secret(value: &str) -> bool {
    const BEGINNINGS: [&str; 9] =
        ["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "sk_live_", "AKIA"];
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let is_key =
        value.len() >= 20 && is_word(value) && BEGINNINGS.iter().any(|start| value.starts_with(start));
    let is_web_token =
        value.starts_with("eyJ") && value.split('.').count() == 3 && value.split('.').all(is_word);
    is_key || is_web_token || holds_password(value) || is_private_key(value)
}

/// `scheme://user:password@host`.
fn holds_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$'))
}

fn is_private_key(value: &str) -> bool {
    value.contains("-----BEGIN ") && value.contains("PRIVATE KEY-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for key in ["MYSQL_ROOT_PASSWORD", "FTP_PASS", "api_key", "GH_TOKEN", "MINIO_ACCESS_KEY"] {
            assert!(looks_like_secret(key, "x"), "{key}");
        }
        for (key, value) in [
            ("PASSWORD_FILE", "/run/secrets/x"),
            ("ALLOW_EMPTY_PASSWORD", "yes"),
            ("PASSIVE_MODE", "x"),
            ("COMPASS", "x"),
            ("TOKEN_URL", "http://x"),
        ] {
            assert!(!looks_like_secret(key, value), "{key}");
        }
        for key in ["PGPASSWORD", "MYSQL_PWD", "DbPassword", "clientSecret", "REDIS_AUTH", "ENCRYPTION_KEY"] {
            assert!(looks_like_secret(key, "hunter2"), "{key}");
        }
        for (key, value) in [
            ("TOKEN_TTL", "60"),
            ("TOKEN_EXPIRY", "1h"),
            ("TOKEN_LIFE", "1h"),
            ("PASSWORD_MIN_LENGTH", "8"),
            ("SECRET_NAME", "x"),
            ("PWD", "/app"),
            ("DB", "postgres://db/x"),
            ("DB", "postgres://u:${p}@db/x"),
            ("MAIL", "mailto://a@b"),
            ("WORD", "eyJust.a.word here"),
        ] {
            assert!(!looks_like_secret(key, value), "{key}");
        }
        for value in [
            "postgres://u:hunter2@db/x",
            "ghp_0123456789abcdefghij",
            "AKIAIOSFODNN7EXAMPLE",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln-_",
        ] {
            assert!(looks_like_secret("DB_URL", value), "{value}");
        }
        assert!(looks_like_secret("X", "-----BEGIN RSA PRIVATE KEY-----\n"));
    }
}
