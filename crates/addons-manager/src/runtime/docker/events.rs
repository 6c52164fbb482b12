//! The engine's events, for ever. They only wake: what is so is read anew, so the stream's duty is to miss nothing that happened after it
//! has said `Connected`, to say when it may have missed something, and never to hold the engine up (it drops what a late reader does not take).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::models::{EventMessage as EngineEvent, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use super::Inner;
use super::errors::Failure;
use crate::runtime::{EventMessage, EventObject, RuntimeEvent};

/// What we look at. There is no label filter, since networks and volumes carry none in their events, and `exec_*` is left out: each health
/// check is three of them. `health_status` makes the engine match by prefix.
const ACTIONS: &[&str] = &[
    "create",
    "start",
    "die",
    "kill",
    "stop",
    "restart",
    "oom",
    "pause",
    "unpause",
    "rename",
    "update",
    "destroy",
    "health_status",
    "connect",
    "disconnect",
    "untag",
    "delete",
];
const TYPES: &[&str] = &["container", "network", "volume", "image"];

/// Events that wait for a slow reader. When there are more, all of them are dropped and the reader is told to look anew.
const WAITING: usize = 10_000;
/// Events that are remembered, to give none twice after a reconnect. The engine remembers 256.
const REMEMBERED: usize = 1024;
/// How far before the last event a new stream begins: events are not quite in order.
const OVERLAP_NS: i64 = 1_000_000_000;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

pub(super) fn follow(inner: Arc<Inner>) -> mpsc::Receiver<EventMessage> {
    let (sender, receiver) = mpsc::channel(256);
    tokio::spawn(run(inner, sender));
    receiver
}

async fn run(inner: Arc<Inner>, sender: mpsc::Sender<EventMessage>) {
    let mut memory = Memory::default();
    let mut failures = 0;
    loop {
        let mut queue = VecDeque::new();
        let end = session(&inner, &sender, &mut memory, &mut queue).await;
        let (failure, was_open) = match end {
            End::NobodyListens => return,
            End::Broken { failure, was_open } => (failure, was_open),
        };
        inner.facts_are_old.store(true, Ordering::SeqCst);
        if was_open {
            failures = 0;
        }
        // Said once, however many attempts fail after it.
        if failures == 0 {
            tracing::warn!(error = ?failure, "the engine's event stream broke");
            queue.push_back(EventMessage::Lost);
            for message in queue {
                if sender.send(message).await.is_err() {
                    return;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(delay(failures, u16::from_le_bytes(service_kit::random::bytes()))) => (),
            () = sender.closed() => return,
        }
        failures += 1;
    }
}

/// Doubles up to a bound; the jitter takes away up to half.
fn delay(failures: u32, jitter: u16) -> Duration {
    let full = FIRST_DELAY.saturating_mul(1 << failures.min(16)).min(LONGEST_DELAY);
    full - full.mul_f64(f64::from(jitter) / f64::from(u16::MAX) / 2.0)
}

enum End {
    NobodyListens,
    Broken { failure: Failure, was_open: bool },
}

/// One stream, from its opening to its end. What the reader has not taken is left in `queue`.
async fn session(
    inner: &Inner,
    sender: &mpsc::Sender<EventMessage>,
    memory: &mut Memory,
    queue: &mut VecDeque<EventMessage>,
) -> End {
    let closed = |failure| End::Broken { failure, was_open: false };
    let since = match memory.last_ns {
        Some(last) => last - OVERLAP_NS,
        None => match engine_time_ns(inner).await {
            Ok(now) => now,
            Err(failure) => return closed(failure),
        },
    };
    let docker = match inner.client() {
        Ok(docker) => docker,
        Err(failure) => return closed(failure),
    };
    let filters = HashMap::from([("type", TYPES.to_vec()), ("event", ACTIONS.to_vec())]);
    let options = EventsOptionsBuilder::new().since(&seconds(since)).filters(&filters).build();
    let mut stream = docker.events(Some(options)).boxed();

    // The client does not tell when the answer begins. The request is on its way before the ping is, the ping's answer shows an engine that
    // works, and what happens before the subscription stands comes out of the engine's memory, because of `since`.
    let mut first = None;
    tokio::select! {
        biased;
        item = stream.next() => first = Some(item),
        pong = inner.within(inner.settings.timeouts.read, docker.ping()) => {
            if let Err(failure) = pong {
                return closed(failure);
            }
        }
    }
    if let Some(None | Some(Err(_))) = first {
        return closed(broken(first.flatten()));
    }
    memory.last_ns.get_or_insert(since);
    queue.push_back(EventMessage::Connected);
    if let Some(Some(Ok(event))) = first {
        take(event, memory, queue);
    }

    // A connection to an engine that hangs, or whose machine is gone, breaks by itself late or never.
    let heartbeat = inner.falls_silent();
    tokio::pin!(heartbeat);
    loop {
        tokio::select! {
            item = stream.next() => match item {
                Some(Ok(event)) => take(event, memory, queue),
                ended => return End::Broken { failure: broken(ended), was_open: true },
            },
            permit = sender.reserve(), if !queue.is_empty() => match (permit, queue.pop_front()) {
                (Ok(permit), Some(message)) => permit.send(message),
                _ => return End::NobodyListens,
            },
            failure = &mut heartbeat => return End::Broken { failure, was_open: true },
            () = sender.closed() => return End::NobodyListens,
        }
    }
}

fn broken(item: Option<Result<EngineEvent, bollard::errors::Error>>) -> Failure {
    match item {
        Some(Err(error)) => Failure::from(error),
        _ => Failure::Unreachable("the event stream ended".to_owned()),
    }
}

/// The engine's clock, which `since` is read by.
async fn engine_time_ns(inner: &Inner) -> Result<i64, Failure> {
    let info = inner.within(inner.settings.timeouts.read, inner.client()?.info()).await?;
    let text = info.system_time.unwrap_or_default();
    let time = OffsetDateTime::parse(&text, &Rfc3339)
        .map_err(|error| Failure::Garbled(format!("the engine's time {text:?}: {error}")))?;
    i64::try_from(time.unix_timestamp_nanos())
        .map_err(|_| Failure::Garbled(format!("the engine's time {text:?} is out of range")))
}

/// `since` as the engine reads it.
fn seconds(at_ns: i64) -> String {
    let at_ns = at_ns.max(0);
    format!("{}.{:09}", at_ns / 1_000_000_000, at_ns % 1_000_000_000)
}

fn take(event: EngineEvent, memory: &mut Memory, queue: &mut VecDeque<EventMessage>) {
    let Some(event) = read(event) else { return };
    if !memory.is_new(&event) {
        return;
    }
    if queue.len() >= WAITING {
        tracing::warn!(dropped = queue.len(), "events were not taken in time");
        queue.clear();
        queue.push_back(EventMessage::Lost);
        queue.push_back(EventMessage::Connected);
    }
    queue.push_back(EventMessage::Event(event));
}

fn read(event: EngineEvent) -> Option<RuntimeEvent> {
    let object = match event.typ? {
        EventMessageTypeEnum::CONTAINER => EventObject::Container,
        EventMessageTypeEnum::NETWORK => EventObject::Network,
        EventMessageTypeEnum::VOLUME => EventObject::Volume,
        EventMessageTypeEnum::IMAGE => EventObject::Image,
        _ => return None,
    };
    let actor = event.actor.unwrap_or_default();
    Some(RuntimeEvent {
        at_ns: event.time_nano.unwrap_or_default(),
        object,
        id: actor.id.unwrap_or_default(),
        action: event.action.unwrap_or_default(),
        attributes: actor.attributes.unwrap_or_default().into_iter().collect(),
    })
}

/// The events that were given out last.
#[derive(Debug, Default)]
struct Memory {
    last_ns: Option<i64>,
    order: VecDeque<(i64, String, String)>,
    known: HashSet<(i64, String, String)>,
}

impl Memory {
    fn is_new(&mut self, event: &RuntimeEvent) -> bool {
        let key = (event.at_ns, event.id.clone(), event.action.clone());
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.last_ns = Some(self.last_ns.unwrap_or(event.at_ns).max(event.at_ns));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ns: i64, action: &str) -> RuntimeEvent {
        RuntimeEvent {
            at_ns,
            object: EventObject::Container,
            id: "1f".to_owned(),
            action: action.to_owned(),
            attributes: Default::default(),
        }
    }

    #[test]
    fn nothing_is_given_twice() {
        let mut memory = Memory::default();
        assert!(memory.is_new(&event(5, "die")));
        assert!(!memory.is_new(&event(5, "die")));
        assert!(memory.is_new(&event(5, "stop")), "two at one time are two");
        assert!(memory.is_new(&event(4, "kill")), "late ones are taken");
        assert_eq!(memory.last_ns, Some(5));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        for at in 0..5000 {
            assert!(memory.is_new(&event(at, "die")));
        }
        assert_eq!((memory.order.len(), memory.known.len()), (REMEMBERED, REMEMBERED));
    }

    #[test]
    fn a_reader_that_is_too_late_is_told_to_look_anew() {
        let mut memory = Memory::default();
        let mut queue = VecDeque::new();
        let engine_event = |at: i64| EngineEvent {
            typ: Some(EventMessageTypeEnum::CONTAINER),
            action: Some("die".to_owned()),
            time_nano: Some(at),
            ..EngineEvent::default()
        };
        for at in 0..=i64::try_from(WAITING).expect("small") {
            take(engine_event(at), &mut memory, &mut queue);
        }
        assert_eq!(queue.len(), 3);
        assert_eq!(
            (queue.pop_front(), queue.pop_front()),
            (Some(EventMessage::Lost), Some(EventMessage::Connected))
        );
    }

    #[test]
    fn delays_double_up_to_a_bound_and_lose_up_to_half() {
        assert_eq!(delay(0, 0), FIRST_DELAY);
        assert_eq!(delay(0, u16::MAX), FIRST_DELAY / 2);
        assert_eq!(delay(2, 0), FIRST_DELAY * 4);
        assert_eq!(delay(60, 0), LONGEST_DELAY);
    }

    #[test]
    fn times_are_written_with_nine_digits() {
        assert_eq!(seconds(1_700_000_000_000_000_042), "1700000000.000000042");
        assert_eq!(seconds(-1), "0.000000000");
    }
}
