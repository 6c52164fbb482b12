//! Requests as they stand on the wire, which clients do not write: they are refused, or read as the one thing they say.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::market::{ADDONS, Market, document};
use crate::registry::Registry;

/// Sends bytes, and gives everything that is answered until the service closes, or says nothing more for a while after the
/// client has ended its side.
fn exchange(url: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // Whoever refuses early closes early.
    _ = stream.write_all(bytes);
    _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of what was answered, in order.
fn statuses(text: &str) -> Vec<u16> {
    let heads = text.split("HTTP/1.").skip(1);
    heads.filter_map(|head| head.get(2..5)?.parse().ok()).collect()
}

/// On a thread of its own: the service runs on the others.
async fn ask(market: &Market, text: String) -> (Vec<u16>, String) {
    let url = market.app().running().url();
    let answer = tokio::task::spawn_blocking(move || exchange(&url, text.as_bytes())).await.unwrap();
    (statuses(&answer), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_methods_and_headers_open_no_other_door() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let release = market.approved(&document("probe", &registry.push("a", "1").await.image)).await;
    let id = release["_id"].as_str().unwrap();
    let host = "Host: 127.0.0.1\r\n";
    // Every one of these names, in some reading, a call that takes a token.
    for (line, headers, expected) in [
        ("GET /api/v1/tokens HTTP/1.1", "", &[401][..]),
        ("GET /api/v1//tokens HTTP/1.1", "", &[308]),
        ("GET //api/v1/tokens HTTP/1.1", "", &[308]),
        ("GET /api/v1/./tokens HTTP/1.1", "", &[400]),
        ("GET /api/v1/marketplace/../tokens HTTP/1.1", "", &[400]),
        ("GET /api/v1/marketplace/%2e%2e/tokens HTTP/1.1", "", &[400]),
        ("GET /api/v1/marketplace/%2E%2E%2Ftokens HTTP/1.1", "", &[400]),
        ("GET /api/v1/marketplace/addons/..;/tokens HTTP/1.1", "", &[404]),
        ("GET /api/v1/tokens;/x HTTP/1.1", "", &[404]),
        ("GET /api/v1/tokens%2f HTTP/1.1", "", &[400]),
        ("GET /api/v1/tokens%00 HTTP/1.1", "", &[400]),
        ("GET /api/v1/tokens%20 HTTP/1.1", "", &[404]),
        ("GET /api/v1/TOKENS HTTP/1.1", "", &[404]),
        ("GET /API/v1/tokens HTTP/1.1", "", &[404]),
        ("GET /api\\v1\\tokens HTTP/1.1", "", &[400]),
        ("GET http://127.0.0.1/api/v1/tokens HTTP/1.1", "", &[401]),
        ("GET http://evil.example/api/v1/tokens HTTP/1.1", "", &[421]),
        ("GET /api/v1/tokens?access_token=x HTTP/1.1", "", &[401]),
        ("get /api/v1/tokens HTTP/1.1", "", &[400, 401, 405]),
        ("TRACE /api/v1/tokens HTTP/1.1", "", &[405]),
        ("CONNECT 127.0.0.1:22 HTTP/1.1", "", &[400, 404, 405]),
        ("PROPFIND /api/v1/tokens HTTP/1.1", "", &[405]),
        (
            "GET /healthz HTTP/1.1",
            "X-Original-URL: /api/v1/tokens\r\nX-Rewrite-URL: /api/v1/tokens\r\n",
            &[200],
        ),
        (
            "POST /api/v1/tokens HTTP/1.1",
            "X-HTTP-Method-Override: GET\r\nX-Forwarded-For: 127.0.0.1\r\nContent-Length: 0\r\n",
            &[401],
        ),
        (
            "GET /api/v1/tokens HTTP/1.1",
            "X-Forwarded-User: admin\r\nX-Remote-User: admin\r\nX-Forwarded-For: 127.0.0.1\r\n",
            &[401],
        ),
        ("GET /api/v1/tokens HTTP/1.1", "Host: evil.example\r\n", &[400]),
        ("GET /api/v1/marketplace/addons?name=%00 HTTP/1.1", "", &[400]),
    ] {
        let (found, text) = ask(&market, format!("{line}\r\n{host}{headers}\r\n")).await;
        assert!(found.len() == 1 && expected.contains(&found[0]), "{line} {headers:?}: {text}");
        assert!(!text.contains("\"scopes\""), "{line}: {text}");
    }
    let (found, text) = ask(&market, "GET /api/v1/tokens HTTP/1.1\r\n\r\n".to_owned()).await;
    assert_eq!(found, [400], "a request has a Host: {text}");
    let override_ = format!(
        "POST {ADDONS}/{id} HTTP/1.1\r\n{host}X-HTTP-Method-Override: DELETE\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
        market.admin()
    );
    assert_eq!(ask(&market, override_).await.0, [405]);
    assert_eq!(market.release(id).await["status"], "approved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_inside_a_request_is_not_answered() {
    let market = Market::start(|_| ()).await;
    let inner = format!(
        "GET /api/v1/tokens HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n\r\n",
        market.admin()
    );
    let length = inner.len();
    let long = inner.len() + 5;
    // Heads that two readers understand differently: how long the body is, and so where the next request begins.
    for head in [
        format!("Content-Length: {long}\r\nTransfer-Encoding: chunked"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {long}"),
        "Content-Length: 5\r\nContent-Length: 0".to_owned(),
        format!("Content-Length: 5\r\nContent-Length: {long}"),
        "Content-Length: 5, 5".to_owned(),
        "Content-Length: +5".to_owned(),
        "Content-Length: 0x5".to_owned(),
        "Content-Length: -1".to_owned(),
        "Content-Length: 5 5".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".to_owned(),
        "Transfer-Encoding: xchunked".to_owned(),
        "Transfer-Encoding: chunked, identity".to_owned(),
        "Transfer-Encoding:\u{b}chunked".to_owned(),
        "Transfer-Encoding : chunked".to_owned(),
        "Transfer_Encoding: chunked\r\nTransfer-Encoding: chunked, chunked".to_owned(),
        "Content-Length: 5\r\n Transfer-Encoding: chunked".to_owned(),
        format!("Content-Length: 99999999999999999999\r\nX-Length: {length}"),
    ] {
        let request = format!(
            "POST /api/v1/marketplace/validate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{head}\r\n\r\n0\r\n\r\n{inner}"
        );
        let (found, text) = ask(&market, request).await;
        assert!(!text.contains("\"scopes\""), "{head:?} lets the second request through: {text}");
        assert!(
            found.len() <= 1 && found.iter().all(|status| (400..500).contains(status)),
            "{head:?}: {text}"
        );
    }
    // Chunks that are written oddly, of a body that is otherwise good.
    for chunks in [
        "5\r\n{\"a\":\r\nFFFFFFFFFFFFFFFFF\r\n",
        "-1\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2;\u{0}\r\n{}\r\n0\r\n\r\n",
    ] {
        let request = format!(
            "POST /api/v1/marketplace/validate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        );
        let (found, text) = ask(&market, request).await;
        assert!(found.len() <= 1 && !text.contains(" 500 "), "{chunks:?}: {text}");
    }
    // Nothing of it has hurt.
    market.get("/healthz").await.expect(200);
    market.post("/api/v1/marketplace/validate", &json!({})).await.expect(200);
}
