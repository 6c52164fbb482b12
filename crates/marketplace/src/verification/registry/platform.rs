//! Platforms as images and descriptors write them: `os/architecture[/variant]`. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on, in the form in which equal platforms are equal: `linux/arm64/v8` is `linux/arm64`, an `arm`
/// without variant is `v7` (containerd normalises the same way).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
struct Written {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl From<Written> for Platform {
    fn from(written: Written) -> Self {
        let architecture = match written.architecture.as_str() {
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            "i386" => "386".to_owned(),
            "armhf" => "arm".to_owned(),
            other => other.to_owned(),
        };
        let variant = written.variant.filter(|variant| !variant.is_empty());
        let variant = match (architecture.as_str(), variant.as_deref()) {
            ("arm64", Some("8" | "v8")) | ("amd64", Some("v1")) => None,
            ("arm", None) => Some("v7".to_owned()),
            ("arm", Some("5" | "6" | "7" | "8")) => variant.map(|digit| format!("v{digit}")),
            _ => variant,
        };
        Self { os: written.os, architecture, variant }
    }
}

impl Platform {
    /// BuildKit writes `unknown/unknown` for what is no image.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown"
    }

    /// Whether both are of one operating system and architecture; variants are told by some builders and not by others.
    pub fn is_like(&self, other: &Self) -> bool {
        self.os == other.os && self.architecture == other.architecture
    }

    /// Whether a host of this platform runs an image of platform `image`: the same, or an older variant of it.
    pub fn runs(&self, image: &Self) -> bool {
        self.os == image.os && self.architecture == image.architecture && self.level() >= image.level()
    }

    /// The number in the variant; hosts of a higher one run images of a lower one.
    fn level(&self) -> u32 {
        let digits = self.variant.as_deref().map(|variant| variant.trim_start_matches('v'));
        let implied = if self.architecture == "arm64" { 8 } else { 1 };
        digits.and_then(|digits| digits.split('.').next()?.parse().ok()).unwrap_or(implied)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// The text is not `os/architecture[/variant]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a platform is written os/architecture or os/architecture/variant")]
pub struct NotAPlatform;

impl FromStr for Platform {
    type Err = NotAPlatform;

    fn from_str(text: &str) -> Result<Self, NotAPlatform> {
        let mut parts = text.split('/');
        let (Some(os), Some(architecture), variant, None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotAPlatform);
        };
        if [Some(os), Some(architecture), variant].contains(&Some("")) {
            return Err(NotAPlatform);
        }
        let variant = variant.map(str::to_owned);
        Ok(Written { os: os.to_owned(), architecture: architecture.to_owned(), variant }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn notations_of_one_platform_are_equal() {
        for (written, normal) in [
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/amd64/v3", "linux/amd64/v3"),
        ] {
            assert_eq!(platform(written).to_string(), normal, "{written}");
        }
    }

    #[test]
    fn a_host_runs_its_own_and_older_variants() {
        for (host, image, expected) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/amd64/v3", false),
            ("linux/amd64/v3", "linux/amd64", true),
            ("linux/arm/v7", "linux/arm/v6", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64", "linux/arm/v7", false),
            ("linux/amd64", "windows/amd64", false),
        ] {
            assert_eq!(platform(host).runs(&platform(image)), expected, "{host} {image}");
        }
    }

    #[test]
    fn other_texts_are_no_platforms() {
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/arm/"] {
            assert_eq!(text.parse::<Platform>(), Err(NotAPlatform), "{text}");
        }
    }
}
