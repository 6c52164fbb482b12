//! References to images, in the form of the OCI distribution specification with Docker's defaults.
//!
//! Nothing here asks a registry.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::violation::Invalid;

/// The registry of a reference that names none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of a reference that names neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// A parsed image reference: `[host[:port]/]path[:tag][@sha256:...]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    written: String,
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageRef {
    /// The text of the document, unchanged.
    pub fn as_written(&self) -> &str {
        &self.written
    }

    /// The registry's host, with a port where one was given; `docker.io` when none was named.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry, with the `library/` that Docker Hub's own images have.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag that was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that was written.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What to ask the registry for: the digest, else the tag, else `latest`.
    pub fn reference(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    /// The reference with nothing left to defaults: `docker.io/library/nginx:1.27`.
    pub fn canonical(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("{}/{}@{digest}", self.registry, self.repository),
            (None, tag) => {
                let tag = tag.as_deref().unwrap_or(DEFAULT_TAG);
                format!("{}/{}:{tag}", self.registry, self.repository)
            }
        }
    }

    /// The repository with its registry, without tag and digest: `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl FromStr for ImageRef {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fault = |message: &str| Invalid::new(format!("not an image reference: {message}"));
        if text.is_empty() {
            return Err(fault("it is empty"));
        }
        if text.len() > 1024 {
            return Err(fault("it is longer than 1024 bytes"));
        }
        if let Some(scheme) =
            ["https://", "http://", "docker://", "oci://"].iter().find(|s| text.starts_with(**s))
        {
            return Err(fault("it has no scheme").suggest(&text[scheme.len()..]));
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| {
                    let fault = fault("its digest is not written sha256:<64 lower-case hex digits>");
                    // `name@1.27` is what other registries write for `name:1.27`.
                    let tagged = format!("{rest}:{digest}");
                    let is_tag = is_tag(digest) && !rest.is_empty() && tagged.parse::<Self>().is_ok();
                    if is_tag { fault.suggest(tagged) } else { fault }
                })?;
                (rest, Some(digest))
            }
        };
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (path, tag) = match rest[slash..].find(':') {
            None => (rest, None),
            Some(at) => (&rest[..slash + at], Some(&rest[slash + at + 1..])),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(fault(
                "a tag is 1 to 128 of a-z, A-Z, 0-9, `_`, `.` and `-`, not starting with `.` or `-`",
            ));
        }
        let (registry, path) = match path.split_once('/') {
            Some((host, path)) if is_host_like(host) => (host, path),
            _ => (DEFAULT_REGISTRY, path),
        };
        if !is_host(registry) {
            return Err(fault("its registry is not a host name or address, with a port or without"));
        }
        // Docker Hub under its other name.
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        if !path.split('/').all(is_path_component) {
            let lower = text.to_ascii_lowercase();
            let fault = fault(
                "the parts of its path are made of a-z and 0-9, with `.`, `_`, `__` or `-` between them",
            );
            return Err(if lower != text && lower.parse::<Self>().is_ok() {
                fault.suggest(lower)
            } else {
                fault
            });
        }
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        if repository.len() > 255 {
            return Err(fault("its path is longer than 255 characters"));
        }
        Ok(Self {
            written: text.to_owned(),
            registry: registry.to_owned(),
            repository,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

/// Whether the part before the first slash is meant as a host, as Docker decides it.
fn is_host_like(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost" || text.chars().any(|c| c.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, after)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                return after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
            }
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label_ok) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.len() <= 5
        && text.bytes().all(|b| b.is_ascii_digit())
        && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && !text.starts_with(['.', '-'])
}

/// Alphanumeric runs with one `.`, one or two `_`, or any number of `-` between them (OCI distribution, "Pulling").
fn is_path_component(text: &str) -> bool {
    let is_run = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !text.starts_with(is_run) || !text.ends_with(is_run) {
        return false;
    }
    text.split(is_run)
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Debug for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.written, f)
    }
}

impl Serialize for ImageRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for ImageRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, Option<String>) {
        let image: ImageRef = text.parse().unwrap();
        (image.registry().to_owned(), image.repository().to_owned(), image.tag().map(str::to_owned))
    }

    #[test]
    fn what_is_left_out_is_what_docker_has() {
        let own = |registry: &str, repository: &str, tag: Option<&str>| {
            (registry.to_owned(), repository.to_owned(), tag.map(str::to_owned))
        };
        assert_eq!(parts("alpine"), own("docker.io", "library/alpine", None));
        assert_eq!(parts("eclipse-mosquitto:2"), own("docker.io", "library/eclipse-mosquitto", Some("2")));
        assert_eq!(parts("fauria/vsftpd"), own("docker.io", "fauria/vsftpd", None));
        assert_eq!(parts("localhost:5000/a/b:1"), own("localhost:5000", "a/b", Some("1")));
        assert_eq!(parts("ghcr.io/x/y-z__w:v1.2"), own("ghcr.io", "x/y-z__w", Some("v1.2")));
        assert_eq!(parts("[::1]:5000/a"), own("[::1]:5000", "a", None));
        assert_eq!(parts("index.docker.io/nginx"), own("docker.io", "library/nginx", None));
    }

    #[test]
    fn a_digest_goes_before_the_tag() {
        let digest = Digest::of(b"x");
        let image: ImageRef = format!("nginx:1@{digest}").parse().unwrap();
        assert_eq!(image.reference(), digest.to_string());
        assert_eq!(image.canonical(), format!("docker.io/library/nginx@{digest}"));
        assert_eq!(image.name(), "docker.io/library/nginx");
        assert_eq!("nginx".parse::<ImageRef>().unwrap().canonical(), "docker.io/library/nginx:latest");
    }

    #[test]
    fn malformed_references_are_refused() {
        for text in [
            "",
            " ",
            "a b",
            "nginx:",
            ":1",
            "nginx:a:b",
            "/nginx",
            "nginx/",
            "a//b",
            "nginx@sha256:12",
            "nginx:-1",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "host.io:0/a",
            "host.io:99999/a",
            "ex..io/a",
            "${x}/a",
            "a\n",
        ] {
            assert!(text.parse::<ImageRef>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn near_misses_have_a_suggestion() {
        let suggestion = |text: &str| text.parse::<ImageRef>().unwrap_err().suggestion;
        assert_eq!(suggestion("Nginx:1.27"), Some("nginx:1.27".to_owned()));
        assert_eq!(suggestion("https://ghcr.io/a/b"), Some("ghcr.io/a/b".to_owned()));
    }
}
