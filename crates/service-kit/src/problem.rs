//! Errors as their clients see them: problem documents (RFC 9457) with a stable code.
//!
//! A handler returns `Result<_, Problem>`; the frame around it adds the request's id and logs what a 5xx hides. Knows no
//! service's error types: each service has one table from its errors to these.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
pub use addon_client::Finding;

use crate::db::{is_full, is_unavailable};

/// When to come back to a database that gave no answer.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

/// And to one that is full: room is made by people.
const ROOM_RETRY: Duration = Duration::from_secs(60);

/// All that a client is told of a failure that waiting does not mend.
const INTERNAL: &str = "the service failed at this; its log has the request id and the cause";

/// The media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What is answered instead of what was asked for.
pub struct Problem(Box<Inner>);

struct Inner {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<Finding>,
    headers: Vec<(HeaderName, HeaderValue)>,
    source: Option<anyhow::Error>,
}

impl Problem {
    /// A problem with a status, a stable kebab-case code, and a sentence that says what to change.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let (errors, headers) = (Vec::new(), Vec::new());
        Self(Box::new(Inner { status, code, detail: detail.into(), errors, headers, source: None }))
    }

    /// 400.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 403.
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 404, code `not-found`.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// 409.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 422.
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 502: the service that was asked on the client's behalf gave an answer that is of no use.
    pub fn bad_gateway(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, code, detail)
    }

    /// 503 with `Retry-After`: waiting helps.
    pub fn unavailable(code: &'static str, detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).with_retry_after(retry_after)
    }

    /// 500. The client sees nothing of `source`; the log has its whole chain.
    pub fn internal(source: impl Into<anyhow::Error>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL).with_source(source)
    }

    /// A database failed so: 503 `no-space` where it is full, 503 `database-away` where waiting helps, else 500.
    pub fn database(cause: &sqlx::Error) -> Self {
        if is_full(cause) {
            let detail = "the database has no room left: nothing can be stored until its operator makes some";
            return Self::unavailable("no-space", detail, ROOM_RETRY);
        }
        if is_unavailable(cause) {
            let detail = "the database gives no answer at the moment; try again";
            return Self::unavailable("database-away", detail, DATABASE_RETRY);
        }
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL)
    }

    /// The same with these findings beside those that it has.
    #[must_use]
    pub fn with_errors(mut self, errors: impl IntoIterator<Item = Finding>) -> Self {
        self.0.errors.extend(errors);
        self
    }

    /// The same with a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The same with `Retry-After`, in whole seconds, at least one.
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        let seconds = after.as_millis().div_ceil(1000).max(1);
        let value = HeaderValue::from_str(&seconds.to_string()).expect("digits are a header value");
        self.with_header(header::RETRY_AFTER, value)
    }

    /// The same with what caused it, for the log only.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// What is wrong and what to change.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Every fault of the request.
    pub fn errors(&self) -> &[Finding] {
        &self.0.errors
    }

    /// What caused it; never part of an answer.
    pub fn source(&self) -> Option<&anyhow::Error> {
        self.0.source.as_ref()
    }

    /// The body, with the id of the request that it answers.
    pub fn body(&self, request_id: Option<&str>) -> addon_client::Problem {
        addon_client::Problem {
            kind: "about:blank".to_owned(),
            title: self.0.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.0.status.as_u16(),
            detail: self.0.detail.clone(),
            code: self.0.code.to_owned(),
            message: self.0.detail.clone(),
            errors: self.0.errors.clone(),
            request_id: request_id.map(str::to_owned),
        }
    }

    /// The answer, with the id of the request that it answers.
    pub fn response(&self, request_id: Option<&str>) -> HttpResponse {
        let body =
            serde_json::to_vec(&self.body(request_id)).expect("a problem holds strings and numbers only");
        let mut response = HttpResponse::build(self.0.status);
        response.insert_header((header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON)));
        for (name, value) in &self.0.headers {
            response.append_header((name.clone(), value.clone()));
        }
        response.body(body)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.0.status.as_u16(), self.0.code, self.0.detail)
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("status", &self.0.status.as_u16())
            .field("code", &self.0.code)
            .field("detail", &self.0.detail)
            .field("errors", &self.0.errors)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.status
    }

    fn error_response(&self) -> HttpResponse {
        self.response(None)
    }
}

/// The problem of a status that came without one: from the framework, not from a handler.
pub(crate) fn of_status(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::not_found("there is nothing at this path"),
        StatusCode::BAD_REQUEST => Problem::bad_request("bad-request", "the request cannot be read"),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(status, "too-large", "the request's body is too long"),
        StatusCode::REQUEST_TIMEOUT => Problem::new(status, "timeout", "the request did not arrive in time"),
        _ if status.is_server_error() => {
            let detail = "the service failed at this; its log has the request id and the cause";
            Problem::new(status, "internal", detail)
        }
        _ => Problem::new(status, "refused", status.canonical_reason().unwrap_or("refused").to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_says_everything_once_for_old_and_new_clients() {
        let problem = Problem::conflict("name-taken", "the name is taken by x");
        let body = serde_json::to_value(problem.body(Some("abc"))).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"type": "about:blank", "title": "Conflict", "status": 409, "code": "name-taken",
                "detail": "the name is taken by x", "message": "the name is taken by x", "request_id": "abc"})
        );
    }

    #[test]
    fn an_internal_problem_shows_nothing_of_its_cause() {
        let problem = Problem::internal(anyhow::anyhow!("the disk at /secret is full"));
        let body = serde_json::to_string(&problem.body(None)).unwrap();
        assert!(!body.contains("secret"), "{body}");
        assert!(problem.source().unwrap().to_string().contains("/secret"));
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        for (wait, seconds) in [(0, "1"), (1_000, "1"), (1_001, "2")] {
            let response = Problem::unavailable("away", "later", Duration::from_millis(wait)).response(None);
            assert_eq!(response.headers().get(header::RETRY_AFTER).unwrap(), seconds);
        }
    }
}
