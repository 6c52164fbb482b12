//! Which `Host` and `Origin` a request may carry, which headers every answer carries. Pure decisions over header texts.
//!
//! The `Host` check is against DNS rebinding: a page under a name that its owner points at this machine. The `Origin`
//! check is against pages of others that make a browser send what their visitor may do.

use std::net::IpAddr;

use actix_web::http::Method;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::problem::Problem;

/// What the preflight of a browser is told, whatever the path: the methods that Oakestra's services name.
const CORS_METHODS: HeaderValue = HeaderValue::from_static("DELETE, GET, OPTIONS, PATCH, POST, PUT");

/// The request headers that pages of other origins may set.
const CORS_HEADERS: [&str; 2] = ["content-type", "authorization"];

/// The answer's headers that pages of other origins may read.
const CORS_EXPOSED: HeaderValue =
    HeaderValue::from_static("Content-Type, ETag, Link, Location, Retry-After, X-Request-Id");

/// Nothing that an API answers is a page: nothing of it is loaded, framed or run.
const API_CSP: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// The names that a service is called by.
#[derive(Debug, Clone)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    /// The loopback names, and these.
    pub(crate) fn new(allowed: &[String]) -> Self {
        Self(allowed.iter().map(|name| host_name(name).to_ascii_lowercase()).collect())
    }

    /// Whether a `Host` may be one of ours. An address always may: rebinding needs a name.
    pub(crate) fn allow(&self, host: &str) -> bool {
        let name = host_name(host);
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        bare.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || name.len() > 10
                && name.is_char_boundary(name.len() - 10)
                && name[name.len() - 10..].eq_ignore_ascii_case(".localhost")
            || self.0.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
    }

    /// 421 that says what to change.
    pub(crate) fn refusal(host: &str) -> Problem {
        let name = host_name(host);
        Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host-not-allowed",
            format!(
                "this service is not called {name:?}: call it by its address, send a valid token, or add the name to \
                 server.allowed_hosts"
            ),
        )
    }
}

/// The name in a `Host` header: without port, without the dot of a full name.
fn host_name(host: &str) -> &str {
    let end = match (host.strip_prefix('['), host.rfind(':')) {
        (Some(rest), _) => rest.find(']').map_or(host.len(), |at| at + 2),
        (None, Some(colon)) if host.find(':') == Some(colon) => colon,
        _ => host.len(),
    };
    host[..end].strip_suffix('.').unwrap_or(&host[..end])
}

/// Why no request could ever carry this as its `Host`, if so.
pub(crate) fn host_fault(text: &str) -> Option<String> {
    (text.is_empty() || !text.chars().all(is_of_host))
        .then(|| format!("{text:?} is not a host's name with or without a port, as marketplace_manager"))
}

/// Why no page could ever have this as its origin, if so.
pub(crate) fn origin_fault(text: &str) -> Option<String> {
    let plain = text.strip_suffix('/').unwrap_or(text).split_once("://");
    let fits = plain.is_some_and(|(scheme, host)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            && !host.is_empty()
            && host.chars().all(is_of_host)
    });
    (!fits).then(|| {
        format!(
            "{text:?} is no origin: scheme://host or scheme://host:port, as http://dashboard.example:11103"
        )
    })
}

fn is_of_host(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._:[]".contains(c)
}

/// The origins whose pages may call a service.
#[derive(Debug, Clone)]
pub(crate) struct Origins(Vec<String>);

impl Origins {
    /// These, as `scheme://host[:port]`. Browsers leave out a scheme's own port, so it makes no difference here either.
    pub(crate) fn new(allowed: &[String]) -> Self {
        let canonical = |origin: &String| {
            let origin = origin.trim_end_matches('/').to_ascii_lowercase();
            let default = if origin.starts_with("https://") { ":443" } else { ":80" };
            origin.strip_suffix(default).map_or(origin.clone(), str::to_owned)
        };
        Self(allowed.iter().map(canonical).collect())
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether pages of this origin may call.
    pub(crate) fn allow(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| origin.eq_ignore_ascii_case(allowed))
    }

    /// Refuses what changes something on behalf of a foreign page.
    pub(crate) fn check(&self, method: &Method, headers: &HeaderMap, host: &str) -> Result<(), Problem> {
        if *method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS {
            return Ok(());
        }
        let (what, whose) = match headers.get(header::ORIGIN).map(HeaderValue::to_str) {
            Some(Ok(origin)) if self.allow(origin) || is_own(origin, host) => return Ok(()),
            Some(origin) => ("origin", origin.unwrap_or("(unreadable)")),
            None if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") => {
                ("site", "another site")
            }
            None => return Ok(()),
        };
        Err(Problem::forbidden(
            "foreign-origin",
            format!(
                "a page of the {what} {whose:?} may not change anything here; where that is meant, add its origin to \
                 server.cors_origins"
            ),
        ))
    }

    /// Adds what a browser needs to let a page of an allowed origin read an answer.
    pub(crate) fn allow_in(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        if self.is_empty() {
            return;
        }
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = request.get(header::ORIGIN) else { return };
        if origin.to_str().is_ok_and(|origin| self.allow(origin)) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, CORS_EXPOSED);
        }
    }

    /// Adds the answer to a preflight, where the request is one of an allowed origin.
    pub(crate) fn allow_preflight_in(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let origin = request.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
        let asks = request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || !origin.is_some_and(|origin| self.allow(origin)) {
            return;
        }
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, CORS_METHODS);
        let asked = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).and_then(|names| names.to_str().ok());
        let allowed = asked.unwrap_or_default().split(',').map(str::trim);
        let allowed: Vec<&str> = allowed
            .filter(|name| CORS_HEADERS.iter().any(|known| name.eq_ignore_ascii_case(known)))
            .collect();
        if let Ok(names) = HeaderValue::from_str(&allowed.join(", "))
            && !allowed.is_empty()
        {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
    }
}

/// Whether a page's origin is the service itself. The scheme is not looked at: behind a proxy it may differ.
fn is_own(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let plain = |text: &'_ str| text.strip_suffix(default).unwrap_or(text).to_ascii_lowercase();
    authority.eq_ignore_ascii_case(host) || plain(authority) == plain(host)
}

/// Headers of every answer that it does not set itself.
pub(crate) fn add_security_headers(answer: &mut HeaderMap) {
    const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
    const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
    // No answer is kept by guess.
    const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
    let defaults: [(HeaderName, HeaderValue); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF),
        (header::REFERRER_POLICY, NO_REFERRER),
        (header::CONTENT_SECURITY_POLICY, API_CSP),
        (header::CACHE_CONTROL, NO_CACHE),
    ];
    for (name, value) in defaults {
        if !answer.contains_key(&name) {
            answer.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn what_is_configured_is_something_that_can_be_sent() {
        for origin in
            ["http://a", "https://a.example:8443/", "http://[::1]:80", "chrome-extension://abc", "HTTP://A_b"]
        {
            assert_eq!(origin_fault(origin), None, "{origin}");
        }
        for origin in
            ["*", "", "null", "a.example", "http://", "http://a/b", "http://a b", "http://*.a", "://a"]
        {
            assert!(origin_fault(origin).is_some(), "{origin}");
        }
        for host in ["a", "marketplace_manager", "a.example:11102", "[::1]"] {
            assert_eq!(host_fault(host), None, "{host}");
        }
        for host in ["", "*", "*.a", "http://a", "a/b", "a b"] {
            assert!(host_fault(host).is_some(), "{host}");
        }
        let origins =
            Origins::new(&["http://a:80/".to_owned(), "https://b:443".to_owned(), "http://c:443".to_owned()]);
        assert!(origins.allow("http://a") && origins.allow("https://b") && origins.allow("http://c:443"));
        assert!(!origins.allow("http://c") && !origins.allow("https://a"));
    }

    #[test]
    fn addresses_loopback_names_and_configured_ones_are_ours() {
        let hosts = Hosts::new(&["marketplace_manager".to_owned(), "Addons.Example.com:443".to_owned()]);
        for host in [
            "127.0.0.1",
            "127.0.0.1:11102",
            "192.168.7.9:80",
            "[::1]",
            "[::1]:11101",
            "[fe80::1]:1",
            "localhost",
            "LOCALHOST:11102",
            "localhost.",
            "console.localhost:1",
            "marketplace_manager:11102",
            "MARKETPLACE_MANAGER",
            "addons.example.com",
            "addons.example.com.:8443",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:11102",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "1.2.3",
            "[::1",
            "example.com",
            "xn--nxasmq6b",
            "ñññññ",
            "[evil.example]",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }

    #[test]
    fn foreign_pages_change_nothing() {
        let origins = Origins::new(&["http://dash.example:11103/".to_owned()]);
        let host = "127.0.0.1:11101";
        for (headers, allowed) in [
            (headers(&[]), true),
            (headers(&[("origin", "http://127.0.0.1:11101")]), true),
            (headers(&[("origin", "https://127.0.0.1:11101")]), true),
            (headers(&[("origin", "http://DASH.example:11103")]), true),
            (headers(&[("origin", "http://dash.example:11103"), ("sec-fetch-site", "cross-site")]), true),
            (headers(&[("origin", "http://dash.example")]), false),
            (headers(&[("origin", "http://127.0.0.1:11102")]), false),
            (headers(&[("origin", "null")]), false),
            (headers(&[("origin", "")]), false),
            (headers(&[("sec-fetch-site", "cross-site")]), false),
            (headers(&[("sec-fetch-site", "same-origin")]), true),
            (headers(&[("sec-fetch-site", "none")]), true),
        ] {
            assert_eq!(origins.check(&Method::POST, &headers, host).is_ok(), allowed, "{headers:?}");
            assert!(origins.check(&Method::GET, &headers, host).is_ok(), "{headers:?}");
        }
        assert!(
            origins.check(&Method::POST, &headers(&[("origin", "https://a.example")]), "a.example").is_ok()
        );
        assert!(
            origins
                .check(&Method::POST, &headers(&[("origin", "https://a.example")]), "a.example:443")
                .is_ok()
        );
    }

    #[test]
    fn a_preflight_is_told_what_oakestra_tells() {
        let origins = Origins::new(&["http://dash.example".to_owned()]);
        let request = headers(&[
            ("origin", "http://dash.example"),
            ("access-control-request-method", "PATCH"),
            ("access-control-request-headers", "content-type, X-Other"),
        ]);
        let mut answer = HeaderMap::new();
        origins.allow_in(&request, &mut answer);
        origins.allow_preflight_in(&request, &mut answer);
        assert_eq!(answer.get("access-control-allow-origin").unwrap(), "http://dash.example");
        assert_eq!(
            answer.get("access-control-allow-methods").unwrap(),
            "DELETE, GET, OPTIONS, PATCH, POST, PUT"
        );
        assert_eq!(answer.get("access-control-allow-headers").unwrap(), "content-type");
        assert_eq!(answer.get("vary").unwrap(), "Origin");

        let foreign =
            headers(&[("origin", "http://evil.example"), ("access-control-request-method", "PATCH")]);
        let mut answer = HeaderMap::new();
        origins.allow_in(&foreign, &mut answer);
        origins.allow_preflight_in(&foreign, &mut answer);
        assert!(answer.keys().all(|name| name == "vary"), "{answer:?}");
    }
}
