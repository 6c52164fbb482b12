//! Parameters: what the operator may or must set, and what becomes of it.
//!
//! A document is read, checked and digested with its references as they stand. What an operator gives is held to the
//! declarations by [`check()`]; [`put_in`] then makes the document that is meant of both. Values of secrets are put in
//! nowhere here: a [`Text`] keeps where they belong. Nothing is drawn here either: who calls brings the randomness.
//!
//! Read on in `value` for what a value is, in `check` for what is accepted, in `fill` for where it goes.

mod check;
mod fill;
mod generate;
mod pattern;
mod references;
mod text;
mod value;

use serde::Serialize;

use crate::descriptor::is_default;
use crate::names::ParameterName;
use crate::quantity::Decimal;

pub use check::{Checked, check};
pub use fill::{Filled, ServiceTexts, put_in};
pub(crate) use pattern::{LARGE_PATTERN, whole_value};
pub use references::references;
pub(crate) use references::{Token, tokens};
pub use text::{Piece, Text};
pub use value::{Origin, Value, Values};

/// A parameter that a document declares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parameter {
    /// Unique in the document, also when case is ignored.
    pub name: ParameterName,
    /// The type, with what only that type has.
    #[serde(flatten)]
    pub kind: ParameterKind,
    /// An installation must give a value; default `false`.
    #[serde(skip_serializing_if = "is_default")]
    pub required: bool,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// The type of a parameter. Bounds are inclusive.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ParameterKind {
    /// A text.
    String(TextRules),
    /// A whole number within 53 bits.
    Integer(Bounds<i64>),
    /// A decimal number.
    Number(Bounds<Decimal>),
    /// `true` or `false`.
    Boolean {
        /// The value when none is given.
        #[serde(skip_serializing_if = "Option::is_none")]
        default: Option<bool>,
    },
    /// A port of the host, 1 to 65535.
    Port(Bounds<u16>),
    /// A text that is never shown.
    Secret(SecretRules),
    /// One of a list of texts.
    Enum {
        /// What may be chosen; at least one, no two alike.
        values: Vec<String>,
        /// The value when none is given.
        #[serde(skip_serializing_if = "Option::is_none")]
        default: Option<String>,
    },
    /// An absolute folder of the host.
    Path {
        /// The value when none is given.
        #[serde(skip_serializing_if = "Option::is_none")]
        default: Option<String>,
    },
}

impl ParameterKind {
    /// Every type's name.
    pub const NAMES: [&str; 8] = ["string", "integer", "number", "boolean", "port", "secret", "enum", "path"];

    /// The type's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Integer(_) => "integer",
            Self::Number(_) => "number",
            Self::Boolean { .. } => "boolean",
            Self::Port(_) => "port",
            Self::Secret(_) => "secret",
            Self::Enum { .. } => "enum",
            Self::Path { .. } => "path",
        }
    }

    /// The default as the text that would be put in, where there is one.
    pub fn default_text(&self) -> Option<String> {
        match self {
            Self::String(rules) => rules.default.clone(),
            Self::Integer(bounds) => bounds.default.map(|value| value.to_string()),
            Self::Number(bounds) => bounds.default.as_ref().map(Decimal::to_string),
            Self::Boolean { default } => default.map(|value| value.to_string()),
            Self::Port(bounds) => bounds.default.map(|value| value.to_string()),
            Self::Secret(_) => None,
            Self::Enum { default, .. } | Self::Path { default } => default.clone(),
        }
    }
}

/// What a text must be. Lengths are in characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TextRules {
    /// The value when none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Shortest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// A regular expression of Rust's `regex`, against the whole value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

/// What a secret must be, and how one is made. Lengths are in characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SecretRules {
    /// Shortest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// A regular expression of Rust's `regex`, against the whole value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Made at random when no value is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
}

/// How a random secret is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Generate {
    /// Characters, 8 to 256; default 32.
    #[serde(skip_serializing_if = "is_default_length")]
    pub length: u32,
    /// The characters it is drawn from, no two alike; default letters and digits.
    #[serde(skip_serializing_if = "is_default_alphabet")]
    pub alphabet: String,
}

impl Generate {
    /// Length when none is given: 32 of 62 characters are 190 bits.
    pub const DEFAULT_LENGTH: u32 = 32;
    /// Characters when none are given.
    pub const DEFAULT_ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
}

impl Default for Generate {
    fn default() -> Self {
        Self { length: Self::DEFAULT_LENGTH, alphabet: Self::DEFAULT_ALPHABET.to_owned() }
    }
}

/// The bounds of a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bounds<T: Serialize> {
    /// The value when none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<T>,
    /// Lowest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<T>,
    /// Highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<T>,
}

impl<T: Serialize> Default for Bounds<T> {
    fn default() -> Self {
        Self { default: None, min: None, max: None }
    }
}

fn is_default_length(length: &u32) -> bool {
    *length == Generate::DEFAULT_LENGTH
}

fn is_default_alphabet(alphabet: &str) -> bool {
    alphabet == Generate::DEFAULT_ALPHABET
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_has_a_text() {
        let text = |kind: ParameterKind| kind.default_text();
        assert_eq!(text(ParameterKind::Boolean { default: Some(true) }).as_deref(), Some("true"));
        let bounds = Bounds { default: "1.50".parse::<Decimal>().ok(), ..Bounds::default() };
        assert_eq!(text(ParameterKind::Number(bounds)).as_deref(), Some("1.5"));
        assert_eq!(text(ParameterKind::Secret(SecretRules::default())), None);
    }
}
