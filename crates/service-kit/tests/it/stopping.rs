//! Stopping: within its time, whatever is open.

use std::time::{Duration, Instant};

use crate::service::{Example, Options, Raw};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest time that a service may take to stop.
const LIMIT: Duration = Duration::from_secs(5);

async fn open_stream(example: &Example) -> TcpStream {
    let mut stream = TcpStream::connect(example.address).await.unwrap();
    let head = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        example.admin()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 1_024];
    while !String::from_utf8_lossy(&seen).contains(": open") {
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
    }
    let text = String::from_utf8_lossy(&seen).to_lowercase();
    assert!(
        text.contains("content-type: text/event-stream") && text.contains("cache-control: no-store"),
        "{text}"
    );
    stream
}

#[tokio::test]
async fn open_streams_end_when_the_service_stops() {
    let example = Example::start().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(open_stream(&example).await);
    }
    // A connection without a request, kept alive.
    let mut idle = TcpStream::connect(example.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut buffer = [0; 4_096];
    assert_ne!(idle.read(&mut buffer).await.unwrap(), 0);

    let begun = Instant::now();
    example.running.stop().await;
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    for mut stream in streams {
        let mut rest = Vec::new();
        _ = stream.read_to_end(&mut rest).await;
    }
    assert!(TcpStream::connect(example.address).await.is_err());
}

#[tokio::test]
async fn a_request_under_way_is_finished() {
    let example = Example::start().await;
    let request = example.with("GET", "/api/v1/slow", &example.admin());
    let asked = tokio::spawn(request.send());
    example.world.begun.notified().await;
    let world = example.world.clone();
    let shutdown = example.running.shutdown_token();
    let stopping = tokio::spawn(example.running.stop());
    shutdown.cancelled().await;
    world.end.notify_one();
    let answer = asked.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "done"));
    tokio::time::timeout(LIMIT, stopping).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut() {
    let mut options = Options::open();
    options.server.shutdown_timeout_ms = 1_000;
    let example = Example::start_with(options).await.unwrap();
    let asked = tokio::spawn(example.request("GET", "/api/v1/slow").send());
    example.world.begun.notified().await;
    let begun = Instant::now();
    example.running.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(asked.await.unwrap().is_err());
}

#[tokio::test]
async fn a_signal_or_the_token_ends_the_run() {
    let example = Example::start().await;
    let token = example.running.shutdown_token();
    let run = tokio::spawn(example.running.run_until_signal());
    token.cancel();
    tokio::time::timeout(LIMIT, run).await.unwrap().unwrap();
}

#[tokio::test]
async fn asking_for_the_head_of_a_stream_opens_none() {
    let example = Example::start().await;
    let head = format!("HEAD /api/v1/events HTTP/1.1\r\nAuthorization: Bearer {}", example.admin());
    let answer = example.raw(&head).await;
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.body.as_str()),
        (200, Some("text/event-stream"), "")
    );
}

#[tokio::test]
async fn events_reach_open_streams() {
    let example = Example::start().await;
    let mut stream = open_stream(&example).await;
    example.world.publish("a");
    let mut seen = Vec::new();
    let mut buffer = [0; 1_024];
    while !String::from_utf8_lossy(&seen).contains("event: changed\ndata: {\"thing\":\"a\"}") {
        let read = tokio::time::timeout(LIMIT, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(read, 0);
        seen.extend_from_slice(&buffer[..read]);
    }
    let other: Raw = example.raw("GET /api/v1/events HTTP/1.1").await;
    assert_eq!(other.status, 401);
}

#[tokio::test]
async fn a_change_goes_on_when_its_caller_hangs_up() {
    let example = Example::start().await;
    let mut stream = TcpStream::connect(example.address).await.unwrap();
    let head = format!(
        "POST /api/v1/slow HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
        example.admin()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    example.world.begun.notified().await;
    drop(stream);
    // By then the service has seen that the connection is gone.
    for _ in 0..20 {
        assert_eq!(example.with("GET", "/healthz", &example.admin()).send().await.unwrap().status(), 200);
    }
    example.world.end.notify_one();
    tokio::time::timeout(Duration::from_secs(10), example.world.ended.notified()).await.unwrap();
}

#[tokio::test]
async fn a_change_that_panics_is_answered() {
    let example = Example::start().await;
    let answer = example.with("POST", "/api/v1/failing", &example.admin()).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    let text = answer.text().await.unwrap();
    assert!(text.contains("\"code\"") && !text.contains("secret"), "{text}");
}
