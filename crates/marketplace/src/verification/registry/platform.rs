//! Platforms as images and descriptors write them: `os/architecture[/variant]`. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest word of a platform, in bytes; the longest that is in use has nine.
const MAX_WORD: usize = 32;

/// What an image runs on, in the form in which equal platforms are equal: `linux/arm64/v8` is `linux/arm64`, an `arm`
/// without variant is `v7`, capitals are small letters (containerd normalises the same way). Its words are short and made of
/// small letters, digits, `.`, `_` and `-`, whoever wrote them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// A platform as images have it, in whatever words.
#[derive(Debug, Deserialize)]
pub(super) struct Written {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Written {
    /// The operating system or the architecture is left empty; some engines take their own then.
    pub(super) fn is_partial(&self) -> bool {
        self.os.is_empty() || self.architecture.is_empty()
    }
}

impl TryFrom<Written> for Platform {
    type Error = NotAPlatform;

    fn try_from(written: Written) -> Result<Self, NotAPlatform> {
        let os = word(&written.os)?;
        let written_architecture = word(&written.architecture)?;
        let variant = written.variant.as_deref().filter(|variant| !variant.is_empty());
        let mut variant = variant.map(word).transpose()?;
        let architecture = match written_architecture.as_str() {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" => "386",
            "armhf" | "armel" => "arm",
            other => other,
        };
        variant = match (architecture, variant.as_deref()) {
            ("arm64", Some("8" | "v8")) | ("amd64", Some("v1")) => None,
            ("arm", None) if written_architecture == "armel" => Some("v6".to_owned()),
            ("arm", None) => Some("v7".to_owned()),
            ("arm", Some("5" | "6" | "7" | "8")) => variant.map(|digit| format!("v{digit}")),
            _ => variant,
        };
        Ok(Self { os, architecture: architecture.to_owned(), variant })
    }
}

/// One word of a platform, in small letters.
fn word(text: &str) -> Result<String, NotAPlatform> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(known) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(NotAPlatform)
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
#[error(
    "a platform is os/architecture or os/architecture/variant, in short words of letters, digits, '.', '_' and '-'"
)]
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
        if variant == Some("") {
            return Err(NotAPlatform);
        }
        let variant = variant.map(str::to_owned);
        Written { os: os.to_owned(), architecture: architecture.to_owned(), variant }.try_into()
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
            ("linux/armel", "linux/arm/v6"),
            ("Linux/AMD64", "linux/amd64"),
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

    #[test]
    fn words_are_short_and_harmless_wherever_they_come_from() {
        let long = "a".repeat(MAX_WORD + 1);
        for word in ["", "amd64\n<script>\u{1b}[31m", "x\u{0}y", "ünï", "a b", long.as_str()] {
            let said = serde_json::json!({"os": "linux", "architecture": word}).to_string();
            assert!(serde_json::from_str::<Platform>(&said).is_err(), "{word:?}");
            let said = serde_json::json!({"os": word, "architecture": "amd64"}).to_string();
            assert!(serde_json::from_str::<Platform>(&said).is_err(), "{word:?}");
            let said = serde_json::json!({"os": "linux", "architecture": "arm", "variant": word}).to_string();
            assert_eq!(serde_json::from_str::<Platform>(&said).is_err(), !word.is_empty(), "{word:?}");
        }
        let longest = platform(&format!("linux/{}", &long[1..]));
        let written = serde_json::to_string(&longest).unwrap();
        assert_eq!(serde_json::from_str::<Platform>(&written).unwrap(), longest);
    }
}
