//! What is wrong with a document, and where.
//!
//! Violations and warnings have one form: services hand them out as they are. Nothing here knows a rule.

use serde::Serialize;

/// One fault of a document or of values for its parameters, or (in [`Reading::warnings`](crate::Reading)) something that
/// is only unwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// JSON Pointer (RFC 6901) of the value; of a missing member, the pointer that it would have.
    pub path: String,
    /// Stable, kebab-case name of the rule that is broken.
    pub rule: &'static str,
    /// What is wrong, for people.
    pub message: String,
    /// What to write instead, where that can be said: of a text the text, of anything else JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// Line in the text, from 1. Of a missing member, that of the object which lacks it; 0 of values, which stand in no text.
    pub line: u32,
    /// Column in the line, from 1, counted in characters; 0 of values.
    pub column: u32,
}

/// The text is no JSON document within what can be read at all: broken syntax, a byte order mark, invalid UTF-8,
/// nesting over 32, a lone surrogate, more than 256 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message} at line {line}, column {column}")]
pub struct Malformed {
    /// Line in the text, from 1.
    pub line: u32,
    /// Column in the line, from 1, counted in characters.
    pub column: u32,
    /// What is wrong, for people.
    pub message: String,
}

/// A single value that does not have the form it must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong with it, for people.
    pub message: String,
    /// What to write instead, where that can be said.
    pub suggestion: Option<String>,
}

impl Invalid {
    /// A fault without a suggestion.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: None }
    }

    /// The same with what to write instead.
    pub(crate) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}
