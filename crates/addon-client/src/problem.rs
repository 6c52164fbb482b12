//! The body of every error answer: a problem document (RFC 9457) that also carries what older clients read.

use addon_descriptor::Violation;
use serde::{Deserialize, Serialize};

/// One fault of a request or of a document, or one warning about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// JSON Pointer (RFC 6901) of the value; of a missing member, the pointer that it would have.
    pub path: String,
    /// Stable, kebab-case name of the rule.
    pub rule: String,
    /// What is wrong, for people.
    pub message: String,
    /// What to write instead, where that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// Line in the text, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in the line, from 1, counted in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

impl From<&Violation> for Finding {
    fn from(violation: &Violation) -> Self {
        Self {
            path: violation.path.clone(),
            rule: violation.rule.to_owned(),
            message: violation.message.clone(),
            suggestion: violation.suggestion.clone(),
            // Values of parameters stand in no text.
            line: (violation.line > 0).then_some(violation.line),
            column: (violation.column > 0).then_some(violation.column),
        }
    }
}

/// A problem document, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `about:blank`: the status and `code` say what kind of problem it is.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The status in words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status, once more.
    pub status: u16,
    /// What is wrong and what to change, for people.
    #[serde(default)]
    pub detail: String,
    /// Stable, kebab-case name of the problem.
    #[serde(default)]
    pub code: String,
    /// The same as `detail`; older clients read it.
    #[serde(default)]
    pub message: String,
    /// Every fault of the request, where there are several or they have a place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Finding>,
    /// The request's id, which stands in the service's log too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}
