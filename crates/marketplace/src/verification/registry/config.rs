//! What an image's configuration says about the image (OCI image specification 1.1, "Image Configuration"). Pure: bytes
//! in, facts out.
//!
//! Whoever built the image wrote all of it, and people are shown it: what is kept is of bounded size, on one line and
//! without control characters, and what has another form than the specification's is left out.

use std::collections::BTreeMap;

use addon_client::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::platform::Platform;

/// Longest single text that is kept, in characters.
const MAX_TEXT: usize = 256;
/// Most entries of one list.
const MAX_ENTRIES: usize = 32;
/// Most that is kept of one image in all its texts, in bytes.
const MAX_BYTES: usize = 4 * 1024;

/// What an image says of itself. Texts are those of who built it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// When it was built; builds that can be repeated have a date of their own choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Who its processes are where nobody says otherwise; none is root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The first part of what is run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The second part, or its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Where it listens, as `80/tcp`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exposed_ports: Vec<String>,
    /// Paths that are volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// How its health is asked, as `CMD-SHELL`, `curl …`; empty when nothing asks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub healthcheck: Vec<String>,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// It says more than is kept here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shortened: bool,
}

impl ImageConfig {
    /// Whether the image tells by itself how it is.
    pub fn has_healthcheck(&self) -> bool {
        !self.healthcheck.is_empty()
    }
}

#[derive(Deserialize)]
struct Document {
    #[serde(flatten)]
    platform: Platform,
    #[serde(default)]
    created: Value,
    #[serde(default)]
    config: Value,
}

/// Reads an image's configuration: what it runs on, and what it says of itself.
///
/// # Errors
/// It names no platform, or is no JSON object: the end of a sentence that begins with the image's name.
pub fn read(bytes: &[u8]) -> Result<(Platform, ImageConfig), String> {
    let Document { platform, created, config } = serde_json::from_slice(bytes)
        .map_err(|error| format!("has a configuration that names no platform: {error}"))?;
    let mut kept = Kept { left: MAX_BYTES, shortened: false };
    let created = created.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let user = config["User"].as_str().filter(|user| !user.is_empty()).and_then(|user| kept.text(user));
    let mut image = ImageConfig {
        // Builders that know no date write one before the epoch.
        created: created.filter(|created| created.millis() >= 0),
        user,
        healthcheck: kept.list(healthcheck(&config["Healthcheck"]["Test"])),
        entrypoint: kept.list(texts(&config["Entrypoint"])),
        command: kept.list(texts(&config["Cmd"])),
        exposed_ports: kept.list(keys(&config["ExposedPorts"])),
        volumes: kept.list(keys(&config["Volumes"])),
        labels: BTreeMap::new(),
        shortened: false,
    };
    for (name, value) in config["Labels"].as_object().into_iter().flatten() {
        let Some(value) = value.as_str() else { continue };
        if image.labels.len() == MAX_ENTRIES {
            kept.shortened = true;
            break;
        }
        if let (Some(name), Some(value)) = (kept.text(name), kept.text(value)) {
            image.labels.insert(name, value);
        }
    }
    image.shortened = kept.shortened;
    Ok((platform, image))
}

/// A list of texts; one text alone, as early builders wrote it, is a list of one.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Sets are objects with empty values.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flat_map(|set| set.keys()).map(String::as_str).collect()
}

/// The test, where it asks anything: `NONE` turns off what the image below had.
fn healthcheck(test: &Value) -> Vec<&str> {
    let test = texts(test);
    match test.as_slice() {
        ["CMD" | "CMD-SHELL", _, ..] => test,
        _ => Vec::new(),
    }
}

/// How much may still be kept of one image.
struct Kept {
    left: usize,
    shortened: bool,
}

impl Kept {
    fn list(&mut self, texts: Vec<&str>) -> Vec<String> {
        self.shortened |= texts.len() > MAX_ENTRIES;
        texts.into_iter().take(MAX_ENTRIES).map_while(|text| self.text(text)).collect()
    }

    /// The text as it can be shown; nothing once there is no room for it.
    fn text(&mut self, text: &str) -> Option<String> {
        let mut shown: String =
            text.chars().take(MAX_TEXT).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        if text.chars().nth(MAX_TEXT).is_some() {
            shown.push('…');
            self.shortened = true;
        }
        let Some(left) = self.left.checked_sub(shown.len()) else {
            self.shortened = true;
            return None;
        };
        self.left = left;
        Some(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(document: &Value) -> ImageConfig {
        read(&serde_json::to_vec(document).unwrap()).unwrap().1
    }

    fn image(config: &Value) -> ImageConfig {
        of(&json!({"os": "linux", "architecture": "amd64", "config": config}))
    }

    #[test]
    fn a_configuration_says_the_platform() {
        let (platform, image) =
            read(br#"{"os":"linux","architecture":"arm","variant":"v7","rootfs":{}}"#).unwrap();
        assert_eq!(platform.to_string(), "linux/arm/v7");
        assert_eq!(image, ImageConfig::default(), "nothing is said");
        for none in [b"{}".as_slice(), b"[]", b"<html>", br#"{"os":"linux"}"#] {
            assert!(read(none).unwrap_err().contains("no platform"));
        }
    }

    #[test]
    fn what_an_image_says_is_read() {
        let found = of(&json!({
            "os": "linux", "architecture": "amd64", "created": "2026-01-02T03:04:05.123456789Z",
            "config": {
                "User": "1000:1000", "Entrypoint": ["/entry"], "Cmd": ["serve", "--all"],
                "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/data": {}},
                "Healthcheck": {"Test": ["CMD-SHELL", "true"]}, "Labels": {"a": "b"},
            },
        }));
        assert_eq!(found.created.unwrap().to_string()[..19], *"2026-01-02T03:04:05");
        assert_eq!(found.user.as_deref(), Some("1000:1000"));
        assert_eq!(
            (found.entrypoint, found.command),
            (vec!["/entry".to_owned()], vec!["serve".to_owned(), "--all".to_owned()])
        );
        assert_eq!(found.exposed_ports, ["53/udp", "80/tcp"]);
        assert_eq!(found.volumes, ["/data"]);
        assert_eq!(found.healthcheck, ["CMD-SHELL", "true"]);
        assert_eq!(found.labels, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        assert!(!found.shortened);
    }

    #[test]
    fn only_what_asks_is_a_healthcheck() {
        for (test, expected) in [
            (json!(["CMD", "/check"]), true),
            (json!(["CMD-SHELL", "true"]), true),
            (json!(["NONE"]), false),
            (json!([]), false),
            (json!(["CMD"]), false),
            (json!(null), false),
            (json!({"CMD": 1}), false),
        ] {
            assert_eq!(image(&json!({"Healthcheck": {"Test": test}})).has_healthcheck(), expected, "{test}");
        }
        assert!(!image(&json!({"Healthcheck": null})).has_healthcheck());
    }

    #[test]
    fn other_forms_are_left_out() {
        let odd = json!({"User": 7, "Entrypoint": "/one", "Cmd": {"a": 1}, "ExposedPorts": [80], "Volumes": "x",
            "Healthcheck": [], "Labels": {"a": 1, "b": "c"}});
        let found = image(&odd);
        let expected = ImageConfig {
            entrypoint: vec!["/one".to_owned()],
            labels: BTreeMap::from([("b".to_owned(), "c".to_owned())]),
            ..ImageConfig::default()
        };
        assert_eq!(found, expected);
        assert_eq!(image(&json!(null)), ImageConfig::default());
        let dated = json!({"os": "linux", "architecture": "amd64", "created": "0001-01-01T00:00:00Z"});
        assert_eq!(of(&dated).created, None);
    }

    #[test]
    fn what_is_kept_is_short_and_harmless() {
        let found = image(&json!({"User": "a\u{1b}[31m\nb"}));
        assert_eq!(found.user.as_deref(), Some("a\u{fffd}[31m\u{fffd}b"));
        let long = "é".repeat(10_000);
        let labels: serde_json::Map<String, Value> =
            (0..1000).map(|n| (format!("{n}-{long}"), json!(long))).collect();
        let found = image(&json!({"Entrypoint": vec![long.clone(); 1000], "Cmd": [long], "Labels": labels}));
        assert!(found.shortened);
        let written = serde_json::to_vec(&found).unwrap().len();
        assert!(written < 2 * MAX_BYTES, "{written}");
        let many = image(&json!({"Cmd": vec!["a"; MAX_ENTRIES + 1]}));
        assert_eq!((many.command.len(), many.shortened), (MAX_ENTRIES, true));
    }
}
