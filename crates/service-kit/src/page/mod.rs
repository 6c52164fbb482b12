//! The pages that both services have: `/` and the API's documentation. Everything they load is in the binary.
//! What a service says of itself there is in `about.rs`, what `/` shows in `home.rs`.

mod about;
mod home;

use std::borrow::Cow;
use std::io::Read as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use actix_web::http::header::{self, ContentType, HeaderValue};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use anyhow::anyhow;

pub use self::about::{About, Count};
use self::home::Home;
use crate::auth::{Access, Auth};
use crate::health::Health;
use crate::problem::Problem;
use crate::routes::RouteTable;
use crate::server::StartError;

/// What pages may load: our own style sheet and script, which asks for the page again; nothing from elsewhere.
const PAGE_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                        base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Swagger UI sets styles from its script, shows icons as data, and calls the API.
const DOCS_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                        connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// What the pages show.
pub(crate) struct Pages {
    title: &'static str,
    about: About,
    auth: Auth,
    openapi: LazyLock<Document, Box<dyn FnOnce() -> Document + Send>>,
}

/// The API's description.
type Document = Result<Bytes, StartError>;

/// Longest time that counting may take; the page is shown without, then.
const PATIENCE: Duration = Duration::from_secs(2);

impl Pages {
    /// `openapi` is asked once, when somebody wants to read it.
    pub(crate) fn new(
        title: &'static str,
        about: About,
        auth: Auth,
        openapi: impl FnOnce() -> Result<String, StartError> + Send + 'static,
    ) -> Self {
        Self { title, about, auth, openapi: LazyLock::new(Box::new(|| openapi().map(Bytes::from))) }
    }

    /// The warning that each page carries in open mode.
    fn warning(&self) -> &'static str {
        if self.auth.is_open() {
            "<p class=\"warning\">Open mode: everyone who reaches this service is an administrator of it.</p>\n"
        } else {
            ""
        }
    }

    /// The page of the documentation.
    fn docs(&self) -> String {
        let link = self.about.other.as_ref().map(home::other).unwrap_or_default();
        let page = include_str!("docs.html").replace("{{title}}", self.title);
        page.replace("{{warning}}", self.warning()).replace("{{other}}", &link)
    }
}

/// The pages, for a service's table.
pub(crate) fn routes() -> RouteTable {
    RouteTable::new()
        .get("/", Access::Public, root)
        .get("/page.css", Access::Public, style)
        .get("/page.js", Access::Public, script)
        .get("/docs.css", Access::Public, docs_style)
        .get("/docs/openapi.json", Access::Public, openapi)
        .get("/api/docs", Access::Public, docs)
        .get("/api/docs/{asset}", Access::Public, asset)
        .hidden("/")
        .hidden("/page.css")
        .hidden("/page.js")
        .hidden("/docs.css")
        .hidden("/docs/openapi.json")
        .hidden("/api/docs")
        .hidden("/api/docs/{asset}")
}

/// A page for a browser; `ok` for everything else, as Oakestra's services answer.
async fn root(request: HttpRequest, pages: web::Data<Pages>, health: web::Data<Health>) -> HttpResponse {
    let accept =
        request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CONTENT_TYPE, HTML)).insert_header((header::VARY, "Accept"));
    // Every browser asks for HTML by name; curl and HTTP libraries send */*.
    if !accept.contains("text/html") {
        return answer.body("ok");
    }
    let counts = async {
        let counts = pages.about.counts.as_ref()?();
        tokio::time::timeout(PATIENCE, counts).await.ok().flatten()
    };
    let (status, counts) = tokio::join!(health.look(), counts);
    let Pages { title, about, auth, .. } = pages.get_ref();
    let (warning, token) = (pages.warning(), (!auth.is_open()).then(|| auth.whereabouts()));
    let page = Home { title, warning, about, status: &status, counts, token }.render();
    answer
        .insert_header((header::CONTENT_SECURITY_POLICY, PAGE_CSP))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(page)
}

async fn style() -> HttpResponse {
    file("text/css; charset=utf-8", include_str!("page.css"))
}

async fn script() -> HttpResponse {
    file("text/javascript; charset=utf-8", include_str!("page.js"))
}

async fn docs_style() -> HttpResponse {
    file("text/css; charset=utf-8", include_str!("docs.css"))
}

fn file(media_type: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, media_type))
        .insert_header((header::CACHE_CONTROL, "public, max-age=3600"))
        .body(text)
}

async fn openapi(pages: web::Data<Pages>) -> Result<HttpResponse, Problem> {
    // The first time it is made, in some milliseconds.
    let document = web::block(move || pages.openapi.as_ref().map(Bytes::clone).map_err(ToString::to_string));
    let document =
        document.await.map_err(Problem::internal)?.map_err(|fault| Problem::internal(anyhow!(fault)))?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(document))
}

async fn docs(pages: web::Data<Pages>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, HTML))
        .insert_header((header::CONTENT_SECURITY_POLICY, DOCS_CSP))
        .body(pages.docs())
}

/// A file of the documentation's page. The large ones are in the binary as gzip, and are sent as they are to whoever reads
/// that, as every browser does.
async fn asset(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    let missing = || Problem::not_found("there is no such file of the documentation");
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((header::CONTENT_SECURITY_POLICY, DOCS_CSP))
        .insert_header((header::CACHE_CONTROL, "public, max-age=3600"))
        .insert_header((header::VARY, "Accept-Encoding"));
    let (bytes, media_type) = match name.as_str() {
        // Its own one is made for a page in the same folder.
        "swagger-initializer.js" => {
            (Bytes::from_static(include_bytes!("docs.js")), "text/javascript".to_owned())
        }
        "swagger-ui.css"
        | "swagger-ui-bundle.js"
        | "swagger-ui-standalone-preset.js"
        | "index.css"
        | "favicon-16x16.png"
        | "favicon-32x32.png"
        | "oauth2-redirect.html"
        | "oauth2-redirect.js" => {
            let config = Arc::new(utoipa_swagger_ui::Config::from("/docs/openapi.json"));
            let file = utoipa_swagger_ui::serve(&name, config).ok().flatten().ok_or_else(missing)?;
            let accepted = request.headers().get(header::ACCEPT_ENCODING);
            let accepted = accepted.and_then(|value| value.to_str().ok()).unwrap_or_default();
            let bytes = if !file.gzpipped {
                file.bytes
            } else if takes_gzip(accepted) {
                answer.insert_header((header::CONTENT_ENCODING, "gzip"));
                file.bytes
            } else {
                unzipped(&file.bytes).map_err(Problem::internal)?.into()
            };
            let bytes = match bytes {
                Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                Cow::Owned(bytes) => Bytes::from(bytes),
            };
            (bytes, file.content_type)
        }
        _ => return Err(missing()),
    };
    let media_type =
        if media_type.starts_with("text/") { media_type + "; charset=utf-8" } else { media_type };
    Ok(answer.insert_header((header::CONTENT_TYPE, media_type)).body(bytes))
}

/// Whether an `Accept-Encoding` names gzip, or stands for everything, and does not rule it out (RFC 9110, 12.5.3).
fn takes_gzip(accepted: &str) -> bool {
    let mut any = false;
    for entry in accepted.split(',') {
        let mut parts = entry.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let wanted = weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0));
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            return wanted;
        }
        any |= coding == "*" && wanted;
    }
    any
}

fn unzipped(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_read_it() {
        for (accepted, expected) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("x-gzip", true),
            ("*", true),
            ("*;q=0.1", true),
            ("", false),
            ("identity", false),
            ("br", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("*;q=0", false),
            ("gzip;q=much", false),
            ("gzipped", false),
        ] {
            assert_eq!(takes_gzip(accepted), expected, "{accepted}");
        }
    }
}
