//! `GET …/events`: what happens to releases, as Server-Sent Events.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use addon_client::Problem as ProblemBody;
use futures_util::StreamExt as _;
use service_kit::body::NoQuery;
use service_kit::events::sse_response;
use service_kit::limit::network;
use service_kit::problem::Problem;

use super::{Services, error};

/// When one may come back for whom there was no room.
const ROOM: Duration = Duration::from_secs(30);

/// Who listens, and how many may.
#[derive(Debug, Clone)]
pub struct Seats(Arc<Room>);

#[derive(Debug)]
struct Room {
    most: u32,
    /// Of one address; 0: as many as there are.
    of_one: u32,
    taken: Mutex<HashMap<IpAddr, u32>>,
}

/// The place of somebody who listens; free again when it is dropped.
#[derive(Debug)]
struct Seat {
    room: Arc<Room>,
    of: IpAddr,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    Room,
    Address,
}

impl Seats {
    /// So many, and so many of them for one address; 0: all of them.
    pub fn new(most: u32, of_one: u32) -> Self {
        Self(Arc::new(Room { most, of_one, taken: Mutex::default() }))
    }

    fn take(&self, of: IpAddr) -> Result<Seat, Full> {
        let (room, of) = (Arc::clone(&self.0), network(of));
        let mut taken = room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: u32 = taken.values().sum();
        if all >= room.most {
            return Err(Full::Room);
        }
        let own = taken.entry(of).or_insert(0);
        if room.of_one > 0 && *own >= room.of_one {
            return Err(Full::Address);
        }
        *own += 1;
        show(all + 1);
        drop(taken);
        Ok(Seat { room, of })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.of) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.of);
            }
        }
        show(taken.values().sum());
    }
}

fn show(listeners: u32) {
    metrics::gauge!("marketplace_event_listeners").set(f64::from(listeners));
}

/// What happens to releases that everybody may see, as it happens: approved, yanked, unyanked, revoked, deleted, an image gone
/// from its registry and there again. Each event's data is a `ReleaseEvent`; its name is the kind.
///
/// A client that comes back with `Last-Event-ID` is told what it missed. Where that cannot be (no id, one that is too old, one
/// of another marketplace) the first event is `reset`, whose data is an `EventReset`: list what is needed anew, then go on with
/// the events that follow. It comes later as well, to a client that reads too slowly for what is kept.
#[utoipa::path(get, path = "/api/v1/marketplace/events", tag = "feeds", operation_id = "events", params(
    ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client was told")), responses(
    (status = 200, description = "Server-Sent Events, until the client or the service ends: each is a `StreamedEvent`, its \
        fields on lines of their own (`data` as JSON). Lines that begin with a colon keep the connection alive; `retry` says \
        after how many milliseconds to come back", body = addon_client::StreamedEvent, content_type = "text/event-stream"),
    (status = 429, description = "This address listens often enough; `Retry-After`", body = ProblemBody),
    (status = 503, description = "As many listen as may; `Retry-After`", body = ProblemBody)))]
pub(super) async fn events(
    request: HttpRequest,
    services: web::Data<Services>,
    _: NoQuery,
) -> Result<HttpResponse, Problem> {
    // Where there is no address, all share one.
    let from = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let seat = services.seats.take(from).map_err(full)?;
    // An id that is no text is none of ours; an empty one is what a browser sends that was told none.
    let told = request.headers().get("last-event-id").map(|id| id.to_str().unwrap_or("?"));
    let told = told.filter(|id| !id.is_empty());
    let events = services.news.follow(told).await.map_err(error::storage)?;
    // The stream holds the place.
    let events = events.map(move |event| {
        let _ = &seat;
        event
    });
    Ok(sse_response(events, services.shutdown.clone()))
}

fn full(why: Full) -> Problem {
    match why {
        Full::Room => Problem::unavailable(
            "too-many-listeners",
            "as many clients follow the events as may (events.listeners)",
            ROOM,
        ),
        Full::Address => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-listeners",
            "as many clients of this address follow the events as may (events.per_address)",
        )
        .with_retry_after(ROOM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let seats = Seats::new(3, 2);
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = seats.take(one).unwrap();
        let _second = seats.take(one).unwrap();
        assert_eq!(seats.take(one).unwrap_err(), Full::Address);
        let third = seats.take(other).unwrap();
        assert_eq!(seats.take(other).unwrap_err(), Full::Room);
        drop(first);
        let _again = seats.take(one).unwrap();
        drop(third);
        assert_eq!(seats.0.taken.lock().unwrap().len(), 1, "who is gone is forgotten");
    }

    #[test]
    fn one_address_may_have_them_all_where_that_is_set() {
        let seats = Seats::new(2, 0);
        let from = "2001:db8::1".parse().unwrap();
        let _both = (seats.take(from).unwrap(), seats.take("2001:db8::2".parse().unwrap()).unwrap());
        assert_eq!(seats.take(from).unwrap_err(), Full::Room);
    }
}
