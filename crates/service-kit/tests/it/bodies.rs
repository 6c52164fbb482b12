//! Bodies: media types, sizes, time, form.

use crate::service::{Example, Options, send};

const ID: &str = "6b00fc9223516c5e37bee27c";

async fn post(
    example: &Example,
    media_type: Option<&str>,
    body: impl Into<reqwest::Body>,
) -> (u16, serde_json::Value) {
    let mut request = example.request("POST", "/api/v1/things").body(body);
    if let Some(media_type) = media_type {
        request = request.header("content-type", media_type);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn only_json_is_read() {
    let example = Example::start_with(Options::open()).await.unwrap();
    for media_type in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.addon+json"] {
        assert_eq!(post(&example, Some(media_type), "{\"name\": \"a\"}").await.0, 201, "{media_type}");
    }
    for media_type in [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonx"),
        Some("application/+json"),
        Some("text/json"),
        Some("multipart/form-data"),
    ] {
        let (status, problem) = post(&example, media_type, "{\"name\": \"a\"}").await;
        assert_eq!((status, &problem["code"]), (415, &"unsupported-media-type".into()), "{media_type:?}");
        assert!(problem["detail"].as_str().unwrap().contains("application/json"));
    }
    for (coding, expected) in [("gzip", 415), ("identity", 201)] {
        let request = example.request("POST", "/api/v1/things").header("content-type", "application/json");
        let answer =
            request.header("content-encoding", coding).body("{\"name\": \"a\"}").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{coding}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_said_or_not() {
    let example = Example::start_with(Options::open()).await.unwrap();
    let json = Some("application/json");
    let exact = format!("{{\"name\": \"{}\"}}", "a".repeat(1_000 - 12));
    assert_eq!((exact.len(), post(&example, json, exact.clone()).await.0), (1_000, 201));
    let (status, problem) = post(&example, json, exact + " ").await;
    assert_eq!((status, &problem["code"]), (413, &"too-large".into()));
    assert!(problem["detail"].as_str().unwrap().contains("1000 bytes"));

    let chunks = "3e8\r\n".to_owned() + &" ".repeat(1_000) + "\r\n2\r\n{}\r\n0\r\n\r\n";
    let head = "POST /api/v1/things HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    assert_eq!(send(example.address, (head.to_owned() + &chunks).as_bytes()).await.status, 413);
    let huge = "POST /api/v1/things HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
                Content-Length: 99999999999\r\n\r\n{}";
    assert_eq!(send(example.address, huge.as_bytes()).await.status, 413);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let example = Example::start_with(Options::open()).await.unwrap();
    let slow = "POST /api/v1/things HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
                Content-Length: 20\r\n\r\n{";
    let answer = send(example.address, slow.as_bytes()).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (408, Some("timeout")));
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let example = Example::start_with(Options::open()).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "a".repeat(300_000));
    let mut stream = tokio::net::TcpStream::connect(example.address).await.unwrap();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    // The service may close before everything is written.
    _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    assert_eq!(example.raw("GET /healthz HTTP/1.1").await.status, 200);
}

#[tokio::test]
async fn what_is_wrong_with_a_body_comes_with_its_place() {
    let example = Example::start_with(Options::open()).await.unwrap();
    let json = Some("application/json");
    let (status, problem) = post(&example, json, "{\n \"name\": oops}").await;
    assert_eq!((status, &problem["code"]), (400, &"malformed-json".into()));
    assert_eq!((&problem["errors"][0]["line"], &problem["errors"][0]["column"]), (&2.into(), &10.into()));
    for body in ["", "\u{feff}{}", "{\"name\": \"a\",}"] {
        assert_eq!(post(&example, json, body).await.0, 400, "{body:?}");
    }
    assert_eq!(post(&example, json, vec![b'"', 0xff, b'"']).await.0, 400);

    let (status, problem) =
        post(&example, json, "{\"name\": 5, \"nmae\": 1, \"count\": 1, \"count\": 2}").await;
    assert_eq!((status, &problem["code"]), (422, &"invalid-body".into()));
    let rules: Vec<String> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| format!("{} {}", fault["path"].as_str().unwrap(), fault["rule"].as_str().unwrap()))
        .collect();
    assert_eq!(rules, ["/name wrong-type", "/nmae unknown-field", "/count repeated-key"]);
    assert_eq!(problem["errors"][1]["suggestion"], "name");
}

#[tokio::test]
async fn a_body_that_may_be_left_out_may_be_left_out() {
    let example = Example::start_with(Options::open()).await.unwrap();
    let path = format!("/api/v1/things/{ID}/review");
    let none = example.request("POST", &path).send().await.unwrap();
    assert_eq!((none.status().as_u16(), none.text().await.unwrap().as_str()), (200, "null"));
    let some = example.request("POST", &path).json(&serde_json::json!({"reason": "r"})).send().await.unwrap();
    assert_eq!(some.text().await.unwrap(), "\"r\"");
    let text = example.request("POST", &path).body("reason").send().await.unwrap();
    assert_eq!(text.status(), 415);
    let unknown =
        example.request("POST", &path).json(&serde_json::json!({"raeson": "r"})).send().await.unwrap();
    assert_eq!(unknown.status(), 422);
}

#[tokio::test]
async fn queries_are_read_as_oakestra_reads_them() {
    let example = Example::start_with(Options::open()).await.unwrap();
    for (query, expected) in [("name=a&name=b", "a"), ("name=", ""), ("&=", "all"), ("name=%C3%B1+x", "ñ x")]
    {
        let answer = example.raw(&format!("GET /api/v1/things?{query} HTTP/1.1")).await;
        assert_eq!((answer.status, answer.json()[0].as_str()), (200, Some(expected)), "{query}");
    }
}
