//! The one table from what can go wrong to status, code and body.

use std::time::Duration;

use actix_web::http::StatusCode;
use addon_client::Finding;
use addon_descriptor::{Malformed, Violation};
use service_kit::problem::Problem;

use crate::domain::limits::{Limited, seconds};
use crate::publish::PublishError;
use crate::review::ReviewError;
use crate::storage::StorageError;

/// The database failed.
pub(super) fn storage(error: StorageError) -> Problem {
    match &error {
        StorageError::Database(cause) => Problem::database(cause).with_source(error),
        StorageError::Corrupt { .. } => Problem::internal(error),
    }
}

/// The text is no document at all.
pub(super) fn malformed(error: &Malformed) -> Problem {
    let finding = Finding {
        path: String::new(),
        rule: "malformed".to_owned(),
        message: error.message.clone(),
        suggestion: None,
        line: Some(error.line),
        column: Some(error.column),
    };
    Problem::bad_request("malformed-json", format!("the body is no JSON that can be read: {error}"))
        .with_errors([finding])
}

/// There is nothing in the body.
pub(super) fn empty() -> Problem {
    let message = "the body is empty: send a descriptor as JSON";
    let finding = Finding { line: Some(1), column: Some(1), ..finding("", "malformed", message, None) };
    Problem::bad_request("malformed-json", message).with_errors([finding])
}

/// The document breaks rules.
pub(super) fn violations(violations: &[Violation]) -> Problem {
    let detail = match violations {
        [one] => format!("{}: {}", place(one), one.message),
        several => format!("the document breaks {} rules; see errors", several.len()),
    };
    Problem::unprocessable("invalid-descriptor", detail).with_errors(violations.iter().map(Finding::from))
}

fn place(violation: &Violation) -> &str {
    if violation.path.is_empty() { "the document" } else { &violation.path }
}

/// A document was not published.
pub(super) fn publish(error: PublishError) -> Problem {
    let detail = error.to_string();
    match error {
        PublishError::NameTaken { existing, .. } => {
            let finding = finding("/name", "name-taken", &detail, Some(existing));
            Problem::conflict("name-taken", detail).with_errors([finding])
        }
        PublishError::VersionTaken { .. } => {
            let finding = finding("/version", "version-taken", &detail, None);
            Problem::conflict("version-taken", detail).with_errors([finding])
        }
        PublishError::VersionDeleted { .. } => {
            let finding = finding("/version", "version-deleted", &detail, None);
            Problem::conflict("version-deleted", detail).with_errors([finding])
        }
        PublishError::NotOwner { .. } => {
            let finding = finding("/name", "not-owner", &detail, None);
            Problem::forbidden("not-owner", detail).with_errors([finding])
        }
        PublishError::Limited(bound) => limited(bound),
        PublishError::NoVersionLeft { .. } => Problem::conflict("no-version-left", detail),
        PublishError::Storage(error) => storage(error),
    }
}

/// A decision was not made.
pub(super) fn review(error: ReviewError) -> Problem {
    let detail = error.to_string();
    match error {
        ReviewError::NotFound => not_found(),
        ReviewError::Illegal(_) => Problem::conflict("wrong-status", detail),
        ReviewError::NotGreen { .. } => Problem::conflict("checks-not-green", detail),
        ReviewError::OtherDigest(_) => Problem::conflict("digest-mismatch", detail),
        ReviewError::OwnRelease { .. } => Problem::forbidden("own-release", detail),
        ReviewError::Administered { .. } => Problem::forbidden("yanked-by-administrator", detail),
        ReviewError::NotRaised(_) => Problem::conflict("not-raised", detail),
        ReviewError::Limited(bound) => limited(bound),
        ReviewError::Undeletable(_) => Problem::conflict("wrong-status", detail),
        ReviewError::Changed(_) => Problem::conflict("changed-meanwhile", detail),
        ReviewError::Storage(error) => storage(error),
        ReviewError::Tokens(error) => error.into(),
    }
}

/// Too much at once.
pub(super) fn limited(bound: Limited) -> Problem {
    let wait = Duration::from_secs(seconds(bound.wait).max(1));
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", bound.to_string()).with_retry_after(wait)
}

/// The addon is somebody else's.
pub(super) fn not_owner(addon: &str) -> Problem {
    let detail = format!("this is for the owners of {addon} and for administrators");
    Problem::forbidden("not-owner", detail)
}

/// There is no such release, or the id is none. Oakestra's clients know the sentence.
pub(super) fn not_found() -> Problem {
    Problem::not_found("Addon not found")
}

fn finding(path: &str, rule: &str, message: &str, suggestion: Option<String>) -> Finding {
    Finding {
        path: path.to_owned(),
        rule: rule.to_owned(),
        message: message.to_owned(),
        suggestion,
        line: None,
        column: None,
    }
}
