//! Answers that were rendered before, by URL: for requests whose answer does not depend on who asks.

use std::future::Future;

use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use addon_descriptor::Digest;
use moka::sync::Cache;
use service_kit::problem::Problem;

use super::large::{Body, Held, Room};
use crate::storage::{Source, Storage};

/// A rendered answer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rendered {
    body: Bytes,
    etag: HeaderValue,
    link: Option<HeaderValue>,
    content_type: &'static str,
    lasting: &'static str,
    held: Held,
    /// Whether others are sent the same bytes: those have their own bounds.
    shared: bool,
}

/// How long an answer lasts that can change any moment: asked for again each time, with the ETag.
const EACH_TIME: &str = "no-cache";

/// One that never changes under its address: a year.
const FOR_EVER: &str = "max-age=31536000, immutable";

#[derive(Debug, Clone)]
struct Kept {
    rendered: Rendered,
    epoch: u64,
}

/// The part of all that is kept which one answer may take: a longer one would stand in the place of hundreds that are asked for more.
const LARGEST_PART: u64 = 32;

/// The kept answers.
#[derive(Debug, Clone)]
pub struct Answers {
    kept: Cache<String, Kept>,
    longest: u64,
}

impl Rendered {
    /// An answer with this JSON body.
    pub fn json<T: serde::Serialize>(value: &T) -> Self {
        Self::text(serde_json::to_vec(value).expect("answers have text keys only"))
    }

    /// A part of a list that is JSON text already, the address of the next part, and the room that was taken for it.
    pub(super) fn page(text: Vec<u8>, next: Option<String>, held: Held) -> Self {
        let held = held.shrink(text.len());
        let link = next.map(|url| format!("<{url}>; rel=\"next\""));
        let link = link.and_then(|link| HeaderValue::from_str(&link).ok());
        Self { link, held, ..Self::text(text) }
    }

    /// An answer that is JSON text already.
    pub fn text(text: impl Into<Bytes>) -> Self {
        let body: Bytes = text.into();
        let tag = Digest::of(&body).hex();
        Self::tagged(&tag[..32], body)
    }

    /// An answer that is JSON text already and whose digest is known.
    pub(super) fn tagged(digest: &str, text: impl Into<Bytes>) -> Self {
        let etag = etag(digest);
        let (content_type, lasting) = ("application/json", EACH_TIME);
        Self { body: text.into(), etag, link: None, content_type, lasting, held: Held::NONE, shared: false }
    }

    /// The same with another media type.
    pub(super) fn of_type(self, content_type: &'static str) -> Self {
        Self { content_type, ..self }
    }

    /// The same with how long pages that show it need not ask again (`Cache-Control`).
    pub(super) fn lasting(self, lasting: &'static str) -> Self {
        Self { lasting, ..self }
    }

    /// The same for an address under which it never changes.
    pub(super) fn for_ever(self) -> Self {
        Self { lasting: FOR_EVER, ..self }
    }

    /// The response as soon as there is room for a body that is sent to this client alone: 304 where the client has it already.
    ///
    /// # Errors
    /// 503 where there is no room for it for some time.
    pub(super) async fn send(self, request: &HttpRequest, room: &Room) -> Result<HttpResponse, Problem> {
        if self.shared || !self.held.is_none() || is_known(request, &self.etag) {
            return Ok(self.respond(request));
        }
        let held = room.of_body(self.body.len()).await?;
        Ok(Self { held, ..self }.respond(request))
    }

    /// The response, of a body that is short, or that hosts must have whatever others do: 304 where the client has it already.
    pub fn respond(self, request: &HttpRequest) -> HttpResponse {
        let known = is_known(request, &self.etag);
        let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        response.insert_header((header::ETAG, self.etag));
        response.insert_header((header::CACHE_CONTROL, HeaderValue::from_static(self.lasting)));
        if let Some(link) = self.link {
            response.insert_header((header::LINK, link));
        }
        if known {
            return response.finish();
        }
        response.insert_header((header::CONTENT_TYPE, HeaderValue::from_static(self.content_type)));
        response.body(Body::new(self.body, self.held))
    }
}

/// The ETag of what has this digest.
pub(super) fn etag(digest: &str) -> HeaderValue {
    let tag = format!("\"{}\"", digest.trim_start_matches("sha256:"));
    HeaderValue::from_str(&tag).expect("hex digits are a header value")
}

/// Whether a client has what this ETag stands for, by its `If-None-Match`.
pub(super) fn is_known(request: &HttpRequest, etag: &HeaderValue) -> bool {
    let if_none_match = request.headers().get(header::IF_NONE_MATCH);
    if_none_match.and_then(|value| value.to_str().ok()).is_some_and(|value| {
        value.split(',').any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes()
        })
    })
}

impl Answers {
    /// Keeps answers of at most so many bytes together.
    pub fn new(max_bytes: u64) -> Self {
        let weigh = |key: &String, kept: &Kept| {
            // What an entry takes beside its texts, about.
            const OVERHEAD: usize = 256;
            u32::try_from(key.len() + kept.rendered.body.len() + OVERHEAD).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder().max_capacity(max_bytes).weigher(weigh).build();
        Self { kept, longest: max_bytes / LARGEST_PART }
    }

    /// The answer kept for this URL while it holds, else the one that `render` makes, which is kept unless it is long. The epoch
    /// is noted before `render` reads, so that an answer made of what was before a write is never kept beyond it.
    ///
    /// # Errors
    /// Those of `render`; they are not kept.
    pub async fn get<F>(
        &self,
        storage: &Storage,
        source: Source,
        url: &str,
        render: impl FnOnce() -> F,
    ) -> Result<Rendered, Problem>
    where
        F: Future<Output = Result<Rendered, Problem>>,
    {
        let epochs = storage.epochs();
        let epoch = epochs.of(source);
        if let Some(kept) = self.kept.get(url).filter(|kept| kept.epoch == epoch && epochs.are_current()) {
            return Ok(kept.rendered);
        }
        let rendered = render().await?;
        if rendered.body.len() as u64 > self.longest {
            return Ok(rendered);
        }
        let kept = Rendered { held: Held::NONE, shared: true, ..rendered };
        self.kept.insert(url.to_owned(), Kept { rendered: kept.clone(), epoch });
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn status(known: Option<&str>) -> u16 {
        let mut request = TestRequest::default();
        if let Some(known) = known {
            request = request.insert_header((header::IF_NONE_MATCH, known));
        }
        Rendered::json(&["a"]).respond(&request.to_http_request()).status().as_u16()
    }

    #[test]
    fn a_known_body_is_not_sent_again() {
        let etag = Rendered::json(&["a"]).etag;
        let etag = etag.to_str().unwrap();
        assert_eq!(status(None), 200);
        assert_eq!(status(Some("\"other\"")), 200);
        assert_eq!(status(Some(etag)), 304);
        assert_eq!(status(Some(&format!("\"x\", W/{etag}"))), 304);
        assert_eq!(status(Some("*")), 304);
    }

    #[test]
    fn the_next_part_is_a_link() {
        let rendered = Rendered::page(Vec::new(), Some("/x?cursor=1".to_owned()), Held::NONE);
        assert_eq!(rendered.link.unwrap(), "</x?cursor=1>; rel=\"next\"");
    }

    #[tokio::test]
    async fn a_long_answer_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open_sqlite(&folder.path().join("test.db")).await.unwrap();
        let answers = Answers::new(64 * LARGEST_PART);
        let get = async |url: &str, text: String| {
            let render = async || Ok(Rendered::text(text));
            answers.get(&storage, Source::Approved, url, render).await.unwrap().body
        };
        for (length, kept) in [(64, true), (65, false)] {
            let url = length.to_string();
            assert_eq!(get(&url, "a".repeat(length)).await, "a".repeat(length));
            assert_eq!(get(&url, "b".to_owned()).await == "b", !kept);
        }
    }
}
