//! What works and is unwise: warnings.

use crate::descriptor::{FileSource, HealthTest};
use crate::parameters::references;
use crate::read::document::DocumentRead;
use crate::read::service::ServiceRead;
use crate::rules;

pub(super) fn check(document: &DocumentRead<'_>) {
    let has_parameters = document.scope.declares_parameters();
    for service in &document.services {
        image(service);
        health(service);
        limits(service);
        user(service);
        secrets(service, has_parameters);
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
    let is_checked = match &service.spec.healthcheck {
        None => false,
        Some(check) => check.test != HealthTest::Disabled,
    };
    if !is_checked && !service.spec.restart.is_job() {
        let message = "without a healthcheck only a crash is noticed";
        match service.fields.get("healthcheck") {
            Some(at) => at.warn(rules::NO_HEALTHCHECK, message, None),
            None => service.fields.at.warn_missing("healthcheck", rules::NO_HEALTHCHECK, message),
        }
    }
}

fn limits(service: &ServiceRead<'_>) {
    if service.spec.resources.memory.is_none() {
        let message = "without a limit the service may use all memory of the host";
        match service.fields.get("resources") {
            Some(at) => at.warn_missing("memory", rules::NO_MEMORY_LIMIT, message),
            None => service.fields.at.warn_missing("resources", rules::NO_MEMORY_LIMIT, message),
        }
    }
}

fn user(service: &ServiceRead<'_>) {
    let user = service.spec.user.as_deref().and_then(|user| user.split(':').next());
    if matches!(user, Some("root" | "0")) {
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
    for file in &service.spec.files {
        if let FileSource::Content(content) = &file.source
            && is_private_key(content)
        {
            let message = format!("the file `{}` holds a private key, and a descriptor is public", file.path);
            service.fields.place("files").warn(rules::LOOKS_LIKE_SECRET, message, None);
        }
    }
}

fn looks_like_secret(key: &str, value: &str) -> bool {
    const WORDS: [&str; 7] = ["PASSWORD", "PASSWD", "PASS", "SECRET", "TOKEN", "APIKEY", "CREDENTIALS"];
    let key = key.to_ascii_uppercase();
    let names_a_place = ["_FILE", "_PATH", "_URL", "_DIR"].iter().any(|end| key.ends_with(end));
    let is_flag =
        matches!(value.to_ascii_lowercase().as_str(), "" | "true" | "false" | "yes" | "no" | "0" | "1");
    let is_named_so = key.split(['_', '-', '.']).any(|word| WORDS.contains(&word))
        || ["API_KEY", "PRIVATE_KEY", "ACCESS_KEY"].iter().any(|word| key.contains(word));
    (is_named_so && !names_a_place && !is_flag) || is_private_key(value)
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
        assert!(looks_like_secret("X", "-----BEGIN RSA PRIVATE KEY-----\n"));
    }
}
