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

/// Lists of at most so many releases are short: they need no room of their own.
const SHORT: u32 = 100;

/// Memory that long lists take together, in KiB, from before they are read until they are sent.
const ROOM: u32 = 16 * 1024;

/// What a release takes of it while its list is made, in KiB: its texts in a row and in the answer, of one that says much.
const RELEASE: u32 = 4;

/// Longest wait for room.
const PATIENCE: Duration = Duration::from_secs(5);

/// The memory that long lists share: whoever asks for many of them, and reads them slowly, keeps others from long lists, and not
/// the machine from memory.
#[derive(Debug, Clone)]
pub struct Room {
    free: Arc<Semaphore>,
    patience: Duration,
}

/// A part of it; given back when the last of these is dropped.
#[derive(Debug, Clone)]
pub(super) struct Held(Option<Arc<OwnedSemaphorePermit>>);

impl Default for Room {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(ROOM as usize)), patience: PATIENCE }
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
        let room = Arc::clone(&self.free).acquire_many_owned((releases * RELEASE).min(ROOM));
        match tokio::time::timeout(self.patience, room).await {
            Ok(held) => Ok(Held(Some(Arc::new(held.expect("it is never closed"))))),
            Err(_) => {
                let detail = format!(
                    "too many long lists are being sent; ask for at most {SHORT} releases, or again later"
                );
                Err(Problem::unavailable("busy", detail, self.patience))
            }
        }
    }
}

impl Held {
    /// None.
    pub(super) const NONE: Self = Self(None);

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
        assert!(room.take(SHORT).await.unwrap().0.is_none());
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
        assert!(room.take(700).await.is_ok());
        let again = shrunk.clone();
        drop((shrunk, held));
        assert_eq!(room.free.available_permits(), ROOM as usize - 900_000_usize.div_ceil(1024));
        drop(again);
        assert_eq!(room.free.available_permits(), ROOM as usize);
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
