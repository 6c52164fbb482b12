//! Answers of megabytes: how many there may be at once, and how a connection gets them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use service_kit::problem::Problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A connection copies what it is handed before it sends it. Of a longer body it is handed so much at a time.
const PIECE: usize = 64 * 1024;

/// Lists of at most so many releases are short: they need no room while they are made.
const SHORT: u32 = 100;

/// Memory that long lists take together, in KiB, from before they are read until they are sent.
const ROOM: u32 = 16 * 1024;

/// What a release takes of it while its list is made, in KiB: its texts in a row and in the answer. A part of a list ends where its texts are
/// half as many bytes for each release that was asked for (`storage/releases.rs`).
const RELEASE: u32 = 8;

/// Memory that other answers of more than a piece take together, in KiB, until they are sent: one for each connection, as slow as that is.
const SENT: u32 = 16 * 1024;

/// Longest wait for room.
const PATIENCE: Duration = Duration::from_secs(5);

/// The memory that long lists share, and that which other answers of some length share: whoever asks for many of them, and reads them slowly,
/// keeps others from such answers, and not the machine from memory.
#[derive(Debug, Clone)]
pub struct Room {
    free: Arc<Semaphore>,
    sent: Arc<Semaphore>,
    patience: Duration,
}

/// A part of it; given back when the last of these is dropped.
#[derive(Debug, Clone)]
pub(super) struct Held(Option<Arc<OwnedSemaphorePermit>>);

impl Default for Room {
    fn default() -> Self {
        let of = |kib: u32| Arc::new(Semaphore::new(kib as usize));
        Self { free: of(ROOM), sent: of(SENT), patience: PATIENCE }
    }
}

impl Room {
    /// Room for a list of so many releases, as soon as there is.
    ///
    /// # Errors
    /// 503 after five seconds without.
    pub(super) async fn take(&self, releases: u32) -> Result<Held, Problem> {
        if releases <= SHORT {
            return Ok(Held(None));
        }
        self.wait(&self.free, (releases * RELEASE).min(ROOM)).await
    }

    /// Room for a body of so many bytes, which is made and has none yet, as soon as there is; one of at most a piece needs none.
    ///
    /// # Errors
    /// 503 after five seconds without.
    pub(super) async fn of_body(&self, bytes: usize) -> Result<Held, Problem> {
        if bytes <= PIECE {
            return Ok(Held::NONE);
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(SENT);
        self.wait(&self.sent, kib.min(SENT)).await
    }

    async fn wait(&self, room: &Arc<Semaphore>, kib: u32) -> Result<Held, Problem> {
        match tokio::time::timeout(self.patience, Arc::clone(room).acquire_many_owned(kib)).await {
            Ok(held) => Ok(Held(Some(Arc::new(held.expect("it is never closed"))))),
            Err(_) => {
                let detail = "too many long answers are being sent to clients that read slowly; ask for fewer releases (`limit`), or again \
                              later";
                Err(Problem::unavailable("busy", detail, self.patience))
            }
        }
    }
}

impl Held {
    /// None.
    pub(super) const NONE: Self = Self(None);

    /// Whether it is none.
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Gives back what is more than a body of this length.
    pub(super) fn shrink(self, bytes: usize) -> Self {
        let Some(Ok(mut held)) = self.0.map(Arc::try_unwrap) else { return Self(None) };
        let surplus = held.num_permits().saturating_sub(bytes.div_ceil(1024));
        drop(held.split(surplus));
        Self(Some(Arc::new(held)))
    }
}

/// A body, and the room that it takes.
pub(super) struct Body {
    bytes: Bytes,
    _held: Held,
}

impl Body {
    pub(super) fn new(bytes: Bytes, held: Held) -> Self {
        Self { bytes, _held: held }
    }
}

impl MessageBody for Body {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.bytes.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.bytes.len().min(PIECE);
        Poll::Ready(Some(Ok(self.bytes.split_to(length))))
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        if self.bytes.len() > PIECE { Err(self) } else { Ok(self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn short_lists_need_no_room() {
        let room = Room::default();
        let all = room.take(10_000).await.unwrap();
        assert!(room.take(SHORT).await.unwrap().is_none());
        drop(all);
    }

    #[tokio::test]
    async fn long_lists_share_what_there_is() {
        let room = Room { patience: Duration::from_millis(20), ..Room::default() };
        let mut held = Vec::new();
        for _ in 0..ROOM / (1000 * RELEASE) {
            held.push(room.take(1000).await.unwrap());
        }
        let refused = room.take(1000).await.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.code()), (503, "busy"));
        // What is made needs less, and what is sent nothing.
        let shrunk = held.pop().unwrap().shrink(1_000_000).shrink(900_000);
        assert!(room.take(800).await.is_ok());
        let again = shrunk.clone();
        drop((shrunk, held));
        assert_eq!(room.free.available_permits(), ROOM as usize - 900_000_usize.div_ceil(1024));
        drop(again);
        assert_eq!(room.free.available_permits(), ROOM as usize);
    }

    #[tokio::test]
    async fn what_is_made_waits_for_room_to_be_sent_in() {
        let room = Room { patience: Duration::from_millis(20), ..Room::default() };
        let mut held = Vec::new();
        for _ in 0..SENT / 1024 {
            held.push(room.of_body(1024 * 1024).await.unwrap());
        }
        let refused = room.of_body(PIECE + 1).await.unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.code()), (503, "busy"));
        assert!(room.of_body(PIECE).await.unwrap().is_none(), "what connections copy anyway");
        held.pop();
        assert!(room.of_body(PIECE + 1).await.is_ok());
        drop(held);
        assert!(room.of_body(usize::MAX).await.is_ok(), "one alone may have all of it");
    }

    #[tokio::test]
    async fn a_long_body_is_handed_over_in_pieces() {
        for length in [0, 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
            let whole: Bytes = (0..=255_u8).cycle().take(length).collect::<Vec<_>>().into();
            let mut body = Body::new(whole.clone(), Held::NONE);
            assert_eq!(body.size(), BodySize::Sized(length as u64));
            assert_eq!(to_bytes(Body::new(whole.clone(), Held::NONE)).await.unwrap(), whole);
            let mut count = 0;
            while let Some(piece) =
                std::future::poll_fn(|context| Pin::new(&mut body).poll_next(context)).await
            {
                assert!(piece.unwrap().len() <= PIECE);
                count += 1;
            }
            assert_eq!(count, length.div_ceil(PIECE));
        }
    }
}
