//! What stands in the log and what does not. A binary of its own: a process has one log.

#![allow(clippy::unwrap_used, reason = "everything here is a test or helps one")]

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "it/service.rs"]
mod service;

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use service::Example;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn taken(&self) -> (String, Vec<Value>) {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (text, lines)
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn of<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

#[tokio::test]
async fn the_log_tells_who_did_what_and_no_secrets() {
    let lines = Lines::default();
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::INFO);
    tracing::subscriber::set_global_default(subscriber.with_writer(lines.clone()).finish()).unwrap();

    let example = Example::start().await;
    let admin = example.admin();
    let (text, seen) = lines.taken();
    let made = of(&seen, "the administrator's token was made");
    assert_eq!(made.len(), 1);
    assert!(made[0]["file"].as_str().unwrap().ends_with("/admin-token"), "the path is logged");
    assert!(!text.contains(&admin), "and never the token");

    // A read is no line at this level.
    example.with("GET", "/api/v1/things?secret=geheim", &admin).send().await.unwrap();
    assert_eq!(of(&lines.taken().1, "answered").len(), 0);

    // A change is one, with who and what, without the query.
    let create =
        example.with("POST", "/api/v1/things?secret=geheim", &admin).header("x-request-id", "change-1");
    create.json(&serde_json::json!({"name": "geheim"})).send().await.unwrap();
    let (text, seen) = lines.taken();
    let answered = of(&seen, "answered");
    assert_eq!(answered.len(), 1, "{text}");
    let line = answered[0];
    assert_eq!((&line["request.id"], &line["account"]), (&"change-1".into(), &"admin".into()));
    assert_eq!((&line["http.method"], &line["http.path"]), (&"POST".into(), &"/api/v1/things".into()));
    assert_eq!((&line["http.status"], line["duration_ms"].is_number()), (&201.into(), true));
    assert!(!text.contains("geheim") && !text.contains(&admin), "{text}");

    // A failure is one, with the whole chain, beside the line of the request.
    let failing = example.with("GET", "/api/v1/failing", &admin).header("x-request-id", "failure-1");
    failing.send().await.unwrap();
    let (text, seen) = lines.taken();
    let failed = of(&seen, "a request failed");
    assert_eq!((failed.len(), text.matches("/secret/place").count()), (1, 1), "{text}");
    assert_eq!((&failed[0]["request.id"], &failed[0]["level"]), (&"failure-1".into(), &"ERROR".into()));
    assert_eq!(failed[0]["error"], "the thing cannot be read: the disk at /secret/place is full");
    assert_eq!(of(&seen, "answered").len(), 1);

    // What handlers log of a change says on whose behalf.
    let body = serde_json::json!({"account": "ci", "scopes": ["read"]});
    let created =
        example.with("POST", "/api/v1/tokens", &admin).header("x-request-id", "token-1").json(&body).send();
    let created: Value = created.await.unwrap().json().await.unwrap();
    let (text, seen) = lines.taken();
    let made = of(&seen, "a token was made");
    assert_eq!(
        (&made[0]["span"]["request.id"], &made[0]["by"]),
        (&"token-1".into(), &"admin".into()),
        "{text}"
    );
    assert!(!text.contains(created["token"].as_str().unwrap()), "{text}");
}
