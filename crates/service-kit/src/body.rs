//! JSON bodies and queries as handlers take them. All that is wrong with a body is said at once, with its place; repeated
//! keys and unknown fields are faults.
//!
//! Here is what is taken off a request; `json.rs` reads a text into a type, `query.rs` what stands after `?`.

mod json;
mod query;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;

pub use self::json::read_json;
pub use self::query::{NoQuery, Query, only_parameters};
use crate::problem::Problem;

/// Most faults that are looked for.
const MOST_FAULTS: usize = 50;

/// How much of a body is read, and how long it may take to arrive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { bytes: 256 << 10, time: Duration::from_secs(30) }
    }
}

type BodyFuture<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

/// A JSON body, read.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T> Json<T> {
    /// What was read.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = BodyFuture<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> BodyFuture<Self> {
        let text = JsonBytes::from_request(request, payload);
        Box::pin(async move { read_json(&text.await?.0).map(Json) })
    }
}

/// A JSON body that may be left out: then the type's default.
#[derive(Debug)]
pub struct JsonOrDefault<T>(pub T);

impl<T: DeserializeOwned + Default + 'static> FromRequest for JsonOrDefault<T> {
    type Error = Problem;
    type Future = BodyFuture<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> BodyFuture<Self> {
        let media_type = json_media_type(request);
        let bytes = collect(request, payload.take());
        Box::pin(async move {
            let bytes = bytes.await?;
            if bytes.trim_ascii().is_empty() {
                return Ok(Self(T::default()));
            }
            media_type?;
            read_json(&bytes).map(Self)
        })
    }
}

/// The bytes of a JSON body, within the limit and of the right media type, not looked at.
#[derive(Debug)]
pub struct JsonBytes(pub Bytes);

impl FromRequest for JsonBytes {
    type Error = Problem;
    type Future = BodyFuture<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> BodyFuture<Self> {
        if let Err(problem) = json_media_type(request) {
            return Box::pin(std::future::ready(Err(problem)));
        }
        let bytes = collect(request, payload.take());
        Box::pin(async move { bytes.await.map(Self) })
    }
}

/// 415 unless the body is said to be JSON.
fn json_media_type(request: &HttpRequest) -> Result<(), Problem> {
    let coding = request.headers().get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let detail = "a compressed body is not read here; send it without Content-Encoding";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    let given =
        request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.strip_prefix("application/");
    if subtype.is_some_and(|subtype| subtype == "json" || (subtype.len() > 5 && subtype.ends_with("+json"))) {
        return Ok(());
    }
    let what = if given.is_empty() {
        "a body without Content-Type".to_owned()
    } else {
        format!("a body of type {given:?}")
    };
    let detail = format!("{what} is not read here; send JSON with \"Content-Type: application/json\"");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail))
}

fn collect(
    request: &HttpRequest,
    mut payload: Payload,
) -> impl Future<Output = Result<Bytes, Problem>> + 'static {
    let limits = request.app_data::<BodyLimits>().copied().unwrap_or_default();
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let too_large = move || {
        let detail = format!("a body has at most {} bytes here", limits.bytes);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    };
    async move {
        if length.is_some_and(|length: u64| length > limits.bytes as u64) {
            return Err(too_large());
        }
        let read = async {
            let mut bytes = BytesMut::new();
            while let Some(chunk) = payload.next().await {
                let chunk = chunk.map_err(|fault| {
                    Problem::bad_request("broken-body", "the body did not arrive whole")
                        .with_source(anyhow::anyhow!(fault))
                })?;
                if bytes.len() + chunk.len() > limits.bytes {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes.freeze())
        };
        match tokio::time::timeout(limits.time, read).await {
            Ok(read) => read,
            Err(_) => {
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not arrive in time"))
            }
        }
    }
}
