//! Server-Sent Events: one hub a service, many streams. A stream that cannot keep up is told so with `reset` instead of
//! being shown a gap; all end when the service stops, so that stopping never waits for them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::random;

/// Time without an event after which a comment is sent, so that neither end nor a proxy between gives up.
/// Shorter than the time that clients wait for a byte: addon-client gives up after 15 s.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Times after which clients are to come back when a stream has ended, in milliseconds. Each is given its own, so that not
/// all of them come at once to a service that was started again.
const COME_BACK_MS: (u16, u16) = (1_000, 5_000);

/// What happened, as every stream writes it.
#[derive(Debug, Clone)]
pub struct Event {
    topic: Arc<str>,
    frame: Bytes,
}

impl Event {
    /// An event of a kind (`event:`) with JSON data. `topic` is what streams choose by, as an installation's id.
    pub fn new(topic: &str, kind: &str, data: &impl Serialize) -> Self {
        let data = serde_json::to_string(data).expect("event data has text keys only");
        Self { topic: topic.into(), frame: format!("event: {kind}\ndata: {data}\n\n").into() }
    }

    /// The same with an id (`id:`), which a client that comes back sends as `Last-Event-ID`. It has no line break.
    #[must_use]
    pub fn with_id(self, id: &str) -> Self {
        let mut frame = format!("id: {id}\n").into_bytes();
        frame.extend_from_slice(&self.frame);
        Self { frame: frame.into(), ..self }
    }
}

/// Hands events to every open stream. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventHub {
    sender: broadcast::Sender<Event>,
    shutdown: CancellationToken,
}

impl EventHub {
    /// A hub whose streams may fall `capacity` events behind, and end when `shutdown` is cancelled.
    pub fn new(capacity: usize, shutdown: CancellationToken) -> Self {
        Self { sender: broadcast::Sender::new(capacity), shutdown }
    }

    /// Tells every stream.
    pub fn publish(&self, event: Event) {
        // Nobody listening is no fault.
        _ = self.sender.send(event);
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.sender.receiver_count()
    }

    /// A stream of what happens from now on, of one topic or of all.
    pub fn stream(&self, topic: Option<String>) -> HttpResponse {
        respond(frames(self.sender.subscribe(), topic, self.shutdown.clone()))
    }
}

/// An answer that sends frames as they come, with comments between so that it stays open, and ends on `shutdown`. For
/// streams that are no events of a hub, as logs.
pub fn sse_response(
    frames: impl Stream<Item = Event> + 'static,
    shutdown: CancellationToken,
) -> HttpResponse {
    respond(ended_by(frames.map(|event| event.frame), shutdown))
}

fn respond(frames: impl Stream<Item = Bytes> + 'static) -> HttpResponse {
    let (soonest, latest) = COME_BACK_MS;
    let come_back = soonest + u16::from_be_bytes(random::bytes()) % (latest - soonest);
    // It makes the headers arrive at once, too.
    let begin = Bytes::from(format!(": open\nretry: {come_back}\n\n"));
    let frames = stream::iter([begin]).chain(kept_alive(frames, KEEP_ALIVE));
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Proxies that collect answers would hold events back.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(frames.map(Ok::<_, Infallible>))
}

fn frames(
    receiver: broadcast::Receiver<Event>,
    topic: Option<String>,
    shutdown: CancellationToken,
) -> impl Stream<Item = Bytes> {
    let frames = stream::unfold((receiver, topic), |(mut receiver, topic)| async move {
        loop {
            match receiver.recv().await {
                Ok(event) if topic.as_deref().is_none_or(|topic| *topic == *event.topic) => {
                    return Some((event.frame, (receiver, topic)));
                }
                Ok(_) => (),
                Err(RecvError::Lagged(missed)) => {
                    let reset = format!("event: reset\ndata: {{\"missed\":{missed}}}\n\n");
                    return Some((reset.into(), (receiver, topic)));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    });
    ended_by(frames, shutdown)
}

fn ended_by<T>(stream: impl Stream<Item = T>, shutdown: CancellationToken) -> impl Stream<Item = T> {
    stream.take_until(shutdown.cancelled_owned())
}

fn kept_alive(frames: impl Stream<Item = Bytes> + 'static, every: Duration) -> impl Stream<Item = Bytes> {
    stream::unfold(Box::pin(frames), move |mut frames| async move {
        match tokio::time::timeout(every, frames.next()).await {
            Ok(frame) => frame.map(|frame| (frame, frames)),
            Err(_) => Some((Bytes::from_static(b": keep-alive\n\n"), frames)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_can_have_an_id() {
        let event = Event::new("one", "changed", &1).with_id("a-7");
        assert_eq!(event.frame, "id: a-7\nevent: changed\ndata: 1\n\n");
    }

    fn text(frames: &[Bytes]) -> Vec<&str> {
        frames.iter().map(|frame| std::str::from_utf8(frame).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_stream_shows_its_topic_and_ends_with_the_service() {
        let shutdown = CancellationToken::new();
        let hub = EventHub::new(8, shutdown.clone());
        let of_one = frames(hub.sender.subscribe(), Some("one".to_owned()), shutdown.clone());
        let of_all = frames(hub.sender.subscribe(), None, shutdown.clone());
        hub.publish(Event::new("two", "changed", &serde_json::json!({"n": 2})));
        hub.publish(Event::new("one", "changed", &serde_json::json!({"n": 1})));
        let mut of_one = Box::pin(of_one);
        assert_eq!(of_one.next().await.unwrap(), "event: changed\ndata: {\"n\":1}\n\n");
        let mut of_all = Box::pin(of_all);
        assert_eq!(of_all.next().await.unwrap(), "event: changed\ndata: {\"n\":2}\n\n");
        shutdown.cancel();
        assert_eq!(of_one.next().await, None);
        drop(of_one);
        drop(of_all);
        assert_eq!(hub.streams(), 0);
    }

    #[tokio::test]
    async fn a_stream_that_fell_behind_is_reset() {
        let hub = EventHub::new(2, CancellationToken::new());
        let stream = frames(hub.sender.subscribe(), None, CancellationToken::new());
        for n in 0..5 {
            hub.publish(Event::new("one", "n", &n));
        }
        let seen: Vec<Bytes> = stream.take(3).collect().await;
        let expected =
            ["event: reset\ndata: {\"missed\":3}\n\n", "event: n\ndata: 3\n\n", "event: n\ndata: 4\n\n"];
        assert_eq!(text(&seen), expected);
    }

    #[tokio::test]
    async fn a_quiet_stream_is_kept_alive() {
        let hub = EventHub::new(2, CancellationToken::new());
        let quiet = frames(hub.sender.subscribe(), None, CancellationToken::new());
        let mut stream = Box::pin(kept_alive(quiet, Duration::from_millis(20)));
        assert_eq!(stream.next().await.unwrap(), ": keep-alive\n\n");
        hub.publish(Event::new("one", "n", &1));
        assert_eq!(stream.next().await.unwrap(), "event: n\ndata: 1\n\n");
    }
}
