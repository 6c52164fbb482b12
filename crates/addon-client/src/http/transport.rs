//! One HTTP call: address, token, deadlines, bounded bodies, and what went wrong as one enum.

use std::fmt;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::Problem;

/// How a client speaks to its service.
#[derive(Clone)]
pub struct ClientOptions {
    /// Address of the service, as `http://127.0.0.1:11102`; a path in it is kept as a prefix.
    pub base_url: Url,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// Longest wait for a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// Longest time without a byte. Default 15 s.
    pub read_timeout: Duration,
    /// Longest time for a whole answer, however steadily it comes. Default 60 s.
    pub timeout: Duration,
    /// Longest answer that is read. Default 16 MiB: a thousand releases of usual size.
    pub max_body_bytes: usize,
}

impl ClientOptions {
    /// The defaults, without a token.
    pub fn new(base_url: Url) -> Self {
        Self {
            base_url,
            token: None,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(15),
            timeout: Duration::from_secs(60),
            max_body_bytes: 16 << 20,
        }
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }
}

impl fmt::Debug for ClientOptions {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("base_url", &self.base_url.as_str())
            .field("token", &self.token.as_ref().map(|_| "[REDACTED]"))
            .field("connect_timeout", &self.connect_timeout)
            .field("read_timeout", &self.read_timeout)
            .field("timeout", &self.timeout)
            .field("max_body_bytes", &self.max_body_bytes)
            .finish()
    }
}

/// Why a call has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer at all: refused, reset, timed out, unresolvable.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// What was called.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The service answered with an error.
    #[error("{url} answered {status}: {}", problem.detail)]
    Problem {
        /// What was called.
        url: String,
        /// The HTTP status, from 300 to 599.
        status: u16,
        /// Its body; where that was no problem document, one made from what there was.
        problem: Box<Problem>,
        /// The seconds after which to come back, where the service says so.
        retry_after_s: Option<u64>,
    },
    /// The answer is not what the call answers.
    #[error("the answer of {url} cannot be read: {what}")]
    Unreadable {
        /// What was called.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The answer is longer than the client reads.
    #[error("the answer of {url} is longer than {limit} bytes")]
    TooLarge {
        /// What was called.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// The client itself cannot be made from its options.
    #[error("the HTTP client cannot be made")]
    Setup(#[source] reqwest::Error),
}

impl ClientError {
    /// The status of a [`ClientError::Problem`].
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the service says that what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether waiting may help: unreachable, 429, 5xx.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}

/// A part of a list, and where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// The cursor of the next part; `None` at the end.
    pub next: Option<String>,
}

/// What both clients are made of.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    http: reqwest::Client,
    options: ClientOptions,
}

impl Transport {
    pub(crate) fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.read_timeout)
            .timeout(options.timeout)
            // An answer that sends us elsewhere would take the token along.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("addon-client/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self { http, options })
    }

    /// The call's address: the base, and each segment percent-encoded.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.options.base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// The address of what has this id below a path, or of something that belongs to it.
    pub(crate) fn url_of(&self, path: &[&str], id: impl fmt::Display, rest: &[&str]) -> Url {
        let id = id.to_string();
        self.url(&[path, &[id.as_str()], rest].concat())
    }

    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url).header(header::ACCEPT, "application/json");
        match &self.options.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Reads what is at an address.
    pub(crate) async fn read<T: DeserializeOwned>(&self, url: Url) -> Result<T, ClientError> {
        self.json(self.request(Method::GET, url)).await
    }

    /// Reads what is at an address; `None` when nothing is there.
    pub(crate) async fn find<T: DeserializeOwned>(&self, url: Url) -> Result<Option<T>, ClientError> {
        found(self.read(url).await)
    }

    /// Reads one part of a list.
    pub(crate) async fn page<T: DeserializeOwned>(&self, url: Url) -> Result<Page<T>, ClientError> {
        let (url, answer, bytes) = self.bytes(self.request(Method::GET, url)).await?;
        let items = read_json(&url, &bytes)?;
        Ok(Page { items, next: next_cursor(answer.link.as_deref(), &self.options.base_url) })
    }

    /// Sends a body as JSON, and reads the answer.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.json(self.request(method, url).json(body)).await
    }

    /// Deletes what is at an address; `false` when nothing is there.
    pub(crate) async fn remove(&self, url: Url) -> Result<bool, ClientError> {
        let answer = self.bytes(self.request(Method::DELETE, url)).await;
        Ok(found(answer)?.is_some())
    }

    /// Sends and reads a JSON answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let (url, _, bytes) = self.bytes(request).await?;
        read_json(&url, &bytes)
    }

    /// Sends and reads the answer's status and bytes.
    pub(crate) async fn bytes(
        &self,
        request: RequestBuilder,
    ) -> Result<(String, Answer, Vec<u8>), ClientError> {
        let (url, response) = execute(request).await?;
        let answer = Answer {
            status: response.status(),
            link: header_text(&response, header::LINK),
            etag: header_text(&response, header::ETAG),
        };
        if !answer.status.is_success() {
            return Err(self.refused(url, response).await);
        }
        let bytes = self.body(&url, response).await?;
        Ok((url, answer, bytes))
    }

    /// Sends, and gives the answer with its body still to come.
    pub(crate) async fn stream(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let (url, response) = execute(request).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(url, response).await) }
    }

    /// Longest answer that is read, in bytes.
    pub(crate) fn longest_body(&self) -> usize {
        self.options.max_body_bytes
    }

    async fn refused(&self, url: String, response: Response) -> ClientError {
        let status = response.status();
        let retry_after_s = header_text(&response, header::RETRY_AFTER).and_then(|text| text.parse().ok());
        match self.body(&url, response).await {
            Ok(bytes) => {
                let problem = Box::new(problem_of(status, &bytes));
                ClientError::Problem { url, status: status.as_u16(), problem, retry_after_s }
            }
            Err(error) => error,
        }
    }

    async fn body(&self, url: &str, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let limit = self.options.max_body_bytes;
        let too_large = || ClientError::TooLarge { url: url.to_owned(), limit };
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(bytes),
                Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => return Err(too_large()),
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Err(source) => {
                    return Err(ClientError::Unreachable {
                        url: url.to_owned(),
                        source: source.without_url(),
                    });
                }
            }
        }
    }
}

/// What is known of an answer beside its body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    link: Option<String>,
    #[cfg_attr(
        not(feature = "trust"),
        expect(dead_code, reason = "only signed documents are asked for again")
    )]
    pub(crate) etag: Option<String>,
}

async fn execute(request: RequestBuilder) -> Result<(String, Response), ClientError> {
    let (client, request) = request.build_split();
    let request = request.map_err(ClientError::Setup)?;
    let url = shown(request.url());
    match client.execute(request).await {
        Ok(response) => Ok((url, response)),
        Err(source) => Err(ClientError::Unreachable { url, source: source.without_url() }),
    }
}

/// Reads a body as JSON.
pub(crate) fn read_json<T: DeserializeOwned>(url: &str, bytes: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(bytes)
        .map_err(|fault| ClientError::Unreadable { url: url.to_owned(), what: fault.to_string() })
}

/// 404 as `None`.
pub(crate) fn found<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(fault) if fault.is_not_found() => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Adds a query from a value's fields; absent ones are left out.
pub(crate) fn with_query(mut url: Url, query: &impl Serialize) -> Url {
    if let Ok(Value::Object(fields)) = serde_json::to_value(query) {
        for (key, value) in fields {
            match value {
                Value::Null => (),
                Value::String(text) => _ = url.query_pairs_mut().append_pair(&key, &text),
                other => _ = url.query_pairs_mut().append_pair(&key, &other.to_string()),
            }
        }
    }
    url
}

/// The `cursor` of the address that a `Link` header calls `next`.
fn next_cursor(link: Option<&str>, base: &Url) -> Option<String> {
    link?.split(',').find_map(|entry| {
        let (target, parameters) = entry.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
        let url = base.join(target).ok().filter(|_| is_next)?;
        url.query_pairs().find(|(key, _)| key == "cursor").map(|(_, value)| value.into_owned())
    })
}

/// The address without query and credentials, for messages.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    _ = url.set_password(None);
    _ = url.set_username("");
    url.to_string()
}

fn header_text(response: &Response, name: header::HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// A problem from whatever an error answer's body is: our own document, Oakestra's (`code` is a number there), text.
fn problem_of(status: StatusCode, bytes: &[u8]) -> Problem {
    if let Ok(problem) = serde_json::from_slice::<Problem>(bytes) {
        return problem;
    }
    let title = status.canonical_reason().unwrap_or("Error").to_owned();
    let detail = match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Object(body)) => match (body.get("message").and_then(Value::as_str), body.get("errors")) {
            (Some(message), _) => message.to_owned(),
            (None, Some(errors)) => errors.to_string(),
            (None, None) => title.clone(),
        },
        _ => title.clone(),
    };
    Problem {
        kind: "about:blank".to_owned(),
        title,
        status: status.as_u16(),
        message: detail.clone(),
        detail,
        code: String::new(),
        errors: Vec::new(),
        request_id: None,
    }
}
