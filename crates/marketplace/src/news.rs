//! What happens to releases, for those who follow it: gives events their numbers, and keeps the newest of them as they are
//! sent. Knows no HTTP.
//!
//! A listener is a number: the position that it was told up to. It waits until there is something after that, and takes it
//! from what is kept here, or from the database where that is too short; so nothing piles up for one who is slow, and one
//! who comes back goes on where it was, at whichever replica.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use addon_client::{EventReset, ResetCause};
use futures_util::stream::{self, Stream, StreamExt as _};
use service_kit::clock::SharedClock;
use service_kit::events::Event;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::storage::{Identity, Numbered, Storage, StorageError};

/// How often is looked for events that nobody called out.
const POLL: Duration = Duration::from_millis(500);

/// Events that get their numbers in one transaction, and are read at once.
const PART: u32 = 200;

/// Events that are kept as they are sent.
const RECENT: usize = 500;

/// Most events that a listener is given at once.
const AT_ONCE: usize = 50;

/// Hex digits of the marketplace's identity in an id of an event.
const MARK: usize = 8;

/// The news of a marketplace. Cheap to clone.
#[derive(Debug, Clone)]
pub struct News(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    storage: Storage,
    identity: Identity,
    recent: Mutex<VecDeque<(i64, Event)>>,
    /// Position of the newest event that is known here.
    last: watch::Sender<i64>,
}

/// What is after a position.
enum After {
    Events(i64, Vec<Event>),
    Nothing,
    /// What came next is not kept any more.
    Lost,
}

impl News {
    /// From the newest event on that there is.
    ///
    /// # Errors
    /// The database.
    pub async fn open(storage: Storage) -> Result<Self, StorageError> {
        let identity = storage.identity().await?;
        let (_, last) = storage.event_bounds().await?;
        let recent = Mutex::default();
        Ok(Self(Arc::new(Inner { storage, identity, recent, last: watch::Sender::new(last) })))
    }

    /// Which marketplace this is.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Gives numbers to what happens and wakes listeners, until `shutdown`.
    pub async fn run(self, clock: SharedClock, shutdown: CancellationToken) {
        let mut changed = self.0.storage.news();
        let mut failing = false;
        while !shutdown.is_cancelled() {
            match self.advance(&clock).await {
                Ok(()) => failing = false,
                Err(error) => {
                    // Said once: a database that is away is not told of twice a second.
                    if !failing {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "events cannot be told at the moment; they are told later");
                    }
                    failing = true;
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => (),
                _ = tokio::time::timeout(POLL, changed.changed()) => (),
            }
        }
    }

    async fn advance(&self, clock: &SharedClock) -> Result<(), StorageError> {
        let storage = &self.0.storage;
        // A look costs no write.
        while storage.events_wait().await? {
            if storage.number_events(PART, clock.now()).await? == 0 {
                break;
            }
        }
        loop {
            let last = *self.0.last.borrow();
            let events = storage.events_after(last, PART).await?;
            let Some(newest) = events.last().map(|numbered| numbered.position) else { return Ok(()) };
            for numbered in &events {
                storage.told_of(&numbered.event);
            }
            self.keep(&events);
            self.0.last.send_replace(newest);
        }
    }

    fn keep(&self, events: &[Numbered]) {
        let mut recent = self.recent();
        for numbered in events {
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back((numbered.position, self.written(numbered)));
        }
    }

    /// What happens from now on, or after the event that a client names as the last one it was told of.
    ///
    /// # Errors
    /// The database.
    pub async fn follow(
        &self,
        told: Option<&str>,
    ) -> Result<impl Stream<Item = Event> + use<>, StorageError> {
        let (first, last) = self.0.storage.event_bounds().await?;
        let reset = match told.map(|id| self.position(id)) {
            None => Err(ResetCause::Start),
            Some(Some(position)) if position < first => Err(ResetCause::TooOld),
            Some(Some(position)) if position <= last => Ok(position),
            // Of a marketplace that has another past: a database that was restored.
            Some(_) => Err(ResetCause::Unknown),
        };
        // One that is not known here yet is one that the reader is about to be told of.
        let (position, begin) = match reset {
            Ok(position) => (position, None),
            Err(because) => (last, Some(self.reset(last, because))),
        };
        let listener = Listener { news: self.clone(), position, changed: self.0.last.subscribe() };
        let rest = stream::unfold(listener, |mut listener| async move {
            listener.next().await.map(|events| (stream::iter(events), listener))
        });
        Ok(stream::iter(begin).chain(rest.flatten()))
    }

    async fn after(&self, position: i64) -> Result<After, StorageError> {
        if *self.0.last.borrow() <= position {
            return Ok(After::Nothing);
        }
        if let Some(found) = self.recent_after(position) {
            return Ok(found);
        }
        let (first, last) = self.0.storage.event_bounds().await?;
        if position < first || position > last {
            return Ok(After::Lost);
        }
        let most = u32::try_from(AT_ONCE).expect("it is a small number");
        let events = self.0.storage.events_after(position, most).await?;
        Ok(match events.last() {
            None => After::Nothing,
            Some(newest) => {
                After::Events(newest.position, events.iter().map(|numbered| self.written(numbered)).collect())
            }
        })
    }

    fn recent_after(&self, position: i64) -> Option<After> {
        let recent = self.recent();
        let (first, _) = recent.front()?;
        // Numbers have no gaps.
        let skip = usize::try_from(position + 1 - first).ok()?;
        let events: Vec<_> = recent.iter().skip(skip).take(AT_ONCE).collect();
        let (newest, _) = events.last()?;
        Some(After::Events(*newest, events.iter().map(|(_, event)| event.clone()).collect()))
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, VecDeque<(i64, Event)>> {
        self.0.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self, numbered: &Numbered) -> Event {
        let Numbered { position, event } = numbered;
        Event::new("", event.kind.as_str(), event).with_id(&self.id(*position))
    }

    fn reset(&self, position: i64, because: ResetCause) -> Event {
        Event::new("", "reset", &EventReset { because }).with_id(&self.id(position))
    }

    /// A position as clients are told it: with a mark of this marketplace, so that nobody goes on here with another's.
    fn id(&self, position: i64) -> String {
        format!("{}-{position}", self.mark())
    }

    fn position(&self, id: &str) -> Option<i64> {
        let (mark, position) = id.split_once('-')?;
        let position =
            position.bytes().all(|byte| byte.is_ascii_digit()).then(|| position.parse().ok())??;
        (mark == self.mark()).then_some(position)
    }

    fn mark(&self) -> &str {
        self.0.identity.uid.get(..MARK).unwrap_or_default()
    }
}

struct Listener {
    news: News,
    position: i64,
    changed: watch::Receiver<i64>,
}

impl Listener {
    /// The next events. `None` ends the stream: the client comes back, and goes on where it was.
    async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            // What is sent from here on wakes.
            let last = *self.changed.borrow_and_update();
            match self.news.after(self.position).await {
                Ok(After::Events(position, events)) => {
                    self.position = position;
                    return Some(events);
                }
                Ok(After::Nothing) => self.changed.changed().await.ok()?,
                Ok(After::Lost) => {
                    self.position = last;
                    return Some(vec![self.news.reset(last, ResetCause::TooOld)]);
                }
                Err(error) => {
                    tracing::debug!(%error, "a listener is sent away: the events after its own cannot be read");
                    return None;
                }
            }
        }
    }
}
