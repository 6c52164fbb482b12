//! Following what happens: in order, from where one was, on every replica, and never at the expense of others.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use addon_client::{
    ClientOptions, MarketNews, MarketplaceClient, NewsStream, ReleaseEvent, ReleaseEventKind as Kind,
    ResetCause, StreamedEvent,
};
use reqwest::Method;
use serde_json::{Value, json};
use service_kit::write_tx;

use crate::market::{ADDONS, Market, document, eventually, postgres};
use crate::registry::Registry;
use crate::replicas::two;

const EVENTS: &str = "/api/v1/marketplace/events";

/// The longest that an event may take to whoever listens.
const SOON: Duration = Duration::from_secs(1);

/// Longest wait for something on a machine that does much else.
const LIMIT: Duration = Duration::from_secs(20);

fn client(market: &Market) -> MarketplaceClient {
    MarketplaceClient::new(ClientOptions::new(market.url().parse().unwrap())).unwrap()
}

async fn next(news: &mut NewsStream) -> MarketNews {
    tokio::time::timeout(LIMIT, news.next()).await.expect("an event comes").unwrap()
}

async fn event(news: &mut NewsStream) -> ReleaseEvent {
    match next(news).await {
        MarketNews::Release(event) => event,
        other => panic!("{other:?}"),
    }
}

/// A stream that is open: what happens from now on is in it.
async fn following(market: &Market) -> NewsStream {
    let mut news = client(market).news(None);
    assert_eq!(next(&mut news).await, MarketNews::Anew(ResetCause::Start));
    news
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_written_as_the_document_says() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let openapi = market.get("/docs/openapi.json").await.expect(200).json();
    let told = &openapi["paths"][EVENTS]["get"]["responses"]["200"]["content"]["text/event-stream"];
    assert_eq!(told["schema"]["$ref"], "#/components/schemas/StreamedEvent");
    let schemas = &openapi["components"]["schemas"];
    let forms = schemas["StreamedEvent"]["oneOf"].as_array().unwrap();
    let data: Vec<&Value> = forms.iter().map(|form| &form["properties"]["data"]).collect();
    for (at, name) in ["ReleaseEvent", "EventReset"].into_iter().enumerate() {
        assert!(data[at].to_string().contains(&format!("schemas/{name}\"")), "{data:?}");
        assert!(schemas[name].is_object());
    }
    assert_eq!(schemas["ResetWord"]["enum"], json!(["reset"]));

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut stream = http.get(format!("{}{EVENTS}", market.url())).send().await.unwrap();
    let mut text = String::new();
    let mut frames = async |count: usize| {
        loop {
            let frames: Vec<StreamedEvent> = text.split_inclusive("\n\n").filter_map(streamed).collect();
            if frames.len() == count {
                return frames;
            }
            let chunk = tokio::time::timeout(LIMIT, stream.chunk()).await.expect("something comes");
            text += std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap();
        }
    };
    let reset = frames(1).await.remove(0);
    assert!(matches!(reset, StreamedEvent::Reset { data, .. } if data.because == ResetCause::Start));
    market.approved(&document("probe", &image)).await;
    match frames(2).await.remove(1) {
        StreamedEvent::Release { event, data, .. } => {
            assert_eq!((event, data.kind), (Kind::Approved, Kind::Approved));
        }
        other => panic!("{other:?}"),
    }
}

/// An event of the stream from its lines; comments and what is not whole yet are none.
fn streamed(frame: &str) -> Option<StreamedEvent> {
    let lines = frame.strip_suffix("\n\n")?.lines();
    let fields: serde_json::Map<String, Value> = lines
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| ["id", "event", "data"].contains(name))
        .map(|(name, text)| {
            let plain = Value::from(text);
            (name.to_owned(), if name == "data" { serde_json::from_str(text).unwrap() } else { plain })
        })
        .collect();
    if fields.is_empty() {
        return None;
    }
    let event: StreamedEvent = serde_json::from_value(Value::Object(fields.clone())).unwrap();
    assert_eq!(serde_json::to_value(&event).unwrap(), Value::Object(fields), "it has no other fields");
    Some(event)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_in_order_and_shown_by_then() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let mut news = following(&market).await;
    assert_eq!(market.get(ADDONS).await.json(), json!([]));
    let id = market.published(&document("probe", &image)).await;
    let begun = Instant::now();
    let told = event(&mut news).await;
    assert_eq!((told.kind, told.name.as_str(), told.version.as_str()), (Kind::Approved, "probe", "0.1.0"));
    assert_eq!(told.release_id.to_string(), id);
    // Whoever is told finds it.
    assert_eq!(market.get(ADDONS).await.json()[0]["_id"], id);
    assert_eq!(market.release(&id).await["digest"], told.digest.to_string());

    market.act(&id, "yank", &json!({"reason": "it leaks"})).await.expect(200);
    let acted = Instant::now();
    let told = event(&mut news).await;
    assert_eq!((told.kind, told.reason.as_deref()), (Kind::Yanked, Some("it leaks")));
    assert!(acted.elapsed() < SOON && begun.elapsed() < LIMIT, "{:?}", acted.elapsed());
    market.act(&id, "unyank", &json!({})).await.expect(200);
    assert_eq!(event(&mut news).await.kind, Kind::Unyanked);
    let revocation = json!({"reason": "it mines coins", "severity": "block-install"});
    market.act(&id, "revoke", &revocation).await.expect(200);
    let told = event(&mut news).await;
    assert_eq!((told.kind, told.severity.as_deref()), (Kind::Revoked, Some("block-install")));
    assert_eq!(market.get(ADDONS).await.json(), json!([]));

    // What failed or waits is nobody's business: the next event is that of the next approved release.
    let failed = market.published(&document("failed", "registry.invalid/none:1")).await;
    let other = market.approved(&document("other", &image)).await;
    assert_eq!(event(&mut news).await.name, "other");
    market.delete(other["_id"].as_str().unwrap()).await.expect(204);
    assert_eq!(event(&mut news).await.kind, Kind::Deleted);
    market.delete(&failed).await.expect(204);
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_is_told_what_it_missed_or_to_begin_anew() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let mut market = Market::beside(&registry).await;
    let mut news = following(&market).await;
    market.approved(&document("first", &image)).await;
    assert_eq!(event(&mut news).await.name, "first");
    let position = news.position().unwrap().to_owned();
    drop(news);
    for name in ["second", "third"] {
        market.approved(&document(name, &image)).await;
    }
    // Also when the service was started again meanwhile: what is kept is in the database.
    market.restart().await;
    let mut news = client(&market).news(Some(position.clone()));
    assert_eq!(event(&mut news).await.name, "second");
    assert_eq!(event(&mut news).await.name, "third");
    let newest = news.position().unwrap().to_owned();
    drop(news);

    let mark = position.split('-').next().unwrap();
    for (position, because) in [
        ("garbage".to_owned(), ResetCause::Unknown),
        ("0123abcd-1".to_owned(), ResetCause::Unknown),
        (format!("{mark}-99"), ResetCause::Unknown),
        (format!("{mark}-+1"), ResetCause::Unknown),
        (format!("{mark}--1"), ResetCause::Unknown),
    ] {
        let mut news = client(&market).news(Some(position.clone()));
        assert_eq!(next(&mut news).await, MarketNews::Anew(because), "{position}");
        assert_eq!(news.position(), Some(newest.as_str()), "and goes on from here");
    }
    // The first two are not kept any more.
    forget_events(&market, 2).await.unwrap();
    let mut news = client(&market).news(Some(format!("{mark}-1")));
    assert_eq!(next(&mut news).await, MarketNews::Anew(ResetCause::TooOld));
    let mut news = client(&market).news(Some(format!("{mark}-2")));
    assert_eq!(event(&mut news).await.name, "third");
    market.stop().await;
}

async fn forget_events(market: &Market, until: i64) -> Result<(), sqlx::Error> {
    write_tx!(market.app().storage().db(), |tx| {
        sqlx::query("DELETE FROM events WHERE position <= $1").bind(until).execute(&mut *tx).await?;
    });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_what_browsers_read() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let request = market.request(Method::GET, EVENTS).header("accept", "text/event-stream");
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut text = String::new();
    while !text.contains("because") {
        let bytes = tokio::time::timeout(LIMIT, response.chunk()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], ": open");
    let retry: u64 = lines[1].strip_prefix("retry: ").unwrap().parse().unwrap();
    assert!((1_000..=5_000).contains(&retry));
    assert!(lines[3].starts_with("id: ") && lines[3].ends_with("-0"), "{text}");
    assert_eq!(lines[4..6], ["event: reset", "data: {\"because\":\"start\"}"]);

    let head = market.request(Method::HEAD, EVENTS).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().as_str()), (200, ""));
    market.get(&format!("{EVENTS}?since=1")).await.expect(400);
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_listen_and_no_more() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::start(|config| {
        registry.allow(config);
        config.events.listeners = 3;
        config.events.per_address = 2;
    })
    .await;
    let id = market.approved(&document("probe", &image)).await["_id"].as_str().unwrap().to_owned();
    let (first, second) = (following(&market).await, following(&market).await);
    let refused = market.get(EVENTS).await;
    assert_eq!(refused.header("retry-after"), "30");
    refused.problem(429, "too-many-listeners");
    drop((first, second));
    // Who is gone is found when there is something to write, at the latest by the comments that keep streams open.
    eventually("their places are free", || async {
        for action in ["yank", "unyank"] {
            market.act(&id, action, &json!({"reason": "again"})).await.expect(200);
        }
        let mut news = client(&market).news(None);
        matches!(tokio::time::timeout(SOON, news.next()).await, Ok(Ok(_))).then_some(())
    })
    .await;
    market.stop().await;

    let market = Market::start(|config| {
        config.events.listeners = 1;
        config.events.per_address = 0;
    })
    .await;
    let _only = following(&market).await;
    market.get(EVENTS).await.problem(503, "too-many-listeners");
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_public_read_a_token_is_needed() {
    let market = Market::start(|config| config.auth.public_read = Some(false)).await;
    market.get(EVENTS).await.problem(401, "unauthorized");
    let refused = client(&market).news(None).next().await.unwrap_err();
    assert_eq!(refused.status(), Some(401));
    let options =
        ClientOptions::new(market.url().parse().unwrap()).with_token(Some(market.admin().to_owned()));
    let mut news = MarketplaceClient::new(options).unwrap().news(None);
    assert_eq!(next(&mut news).await, MarketNews::Anew(ResetCause::Start));
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_is_cut_off_and_holds_up_nobody() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::start(|config| {
        registry.allow(config);
        config.server.unread_timeout_ms = 1_500;
    })
    .await;
    // More than the system takes for one who does not read.
    many_events(&market, 12_000).await.unwrap();
    let mut news = following(&market).await;
    let mark = news.position().unwrap().split('-').next().unwrap().to_owned();
    let address = market.app().running().address();
    let mut silent = std::net::TcpStream::connect(address).unwrap();
    let request = format!("GET {EVENTS} HTTP/1.1\r\nhost: localhost\r\nlast-event-id: {mark}-0\r\n\r\n");
    silent.write_all(request.as_bytes()).unwrap();
    // It has begun.
    silent.read_exact(&mut [0; 12]).unwrap();
    let begun = Instant::now();
    market.approved(&document("probe", &image)).await;
    assert_eq!(event(&mut news).await.name, "probe");
    // The system ends the connection, which ends what is written into it: then its place is free.
    eventually("its place is free", || async {
        let metrics = market.get("/metrics").await.text;
        metrics.lines().any(|line| line == "marketplace_event_listeners 1").then_some(())
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    // What had come is read, and then there is no more: it was cut off.
    let read = tokio::task::spawn_blocking(move || {
        silent.set_read_timeout(Some(LIMIT)).unwrap();
        let mut rest = Vec::new();
        let ended = silent.read_to_end(&mut rest);
        (rest.len(), ended.map_err(|error| error.kind()))
    });
    let (length, ended) = read.await.unwrap();
    assert_ne!(ended, Err(std::io::ErrorKind::WouldBlock), "it is open still");
    assert!(length < 12_000 * 900, "all of it was sent: {length}");
    market.stop().await;
}

async fn many_events(market: &Market, number: i64) -> Result<(), sqlx::Error> {
    let (last,): (i64,) = service_kit::read!(market.app().storage().db(), |pool| {
        sqlx::query_as("SELECT last FROM event_count").fetch_one(pool).await
    })?;
    assert_eq!(last, 0);
    let digest = addon_descriptor::Digest::of(b"x").to_string();
    write_tx!(market.app().storage().db(), |tx| {
        sqlx::query(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1)
             INSERT INTO event_inbox (kind, release_id, name, version, digest, reason)
             SELECT 'yanked', '6b00fc9223516c5e37bee27c', 'x', '1.0.0', $2, $3 FROM numbers",
        )
        .bind(number)
        .bind(&digest)
        .bind("x".repeat(800))
        .execute(&mut *tx)
        .await?;
    });
    eventually("they have numbers", || async {
        (!market.app().storage().events_wait().await.unwrap()).then_some(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_the_service_does_and_come_back_to_the_next_one() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let mut market = Market::start(|config| {
        registry.allow(config);
        config.server.port = free_port();
    })
    .await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(following(&market).await);
    }
    let begun = Instant::now();
    market.restart().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    market.approved(&document("probe", &image)).await;
    // Each comes back at a time of its own, and misses nothing.
    let told = streams.iter_mut().map(event);
    for told in futures_util::future::join_all(told).await {
        assert_eq!(told.name, "probe");
    }
    market.stop().await;
}

/// A port that a service can have again after a restart.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_tells_what_any_of_them_does_and_positions_hold_at_all() {
    let (registry, database) = (Registry::start().await, postgres().await);
    let image = registry.push("a", "1").await.image;
    let (one, other) = two(&registry, database.url()).await;
    let mut streams = [following(&one).await, following(&other).await];
    let id = one.published(&document("probe", &image)).await;
    for news in &mut streams {
        assert_eq!(event(news).await.release_id.to_string(), id);
    }
    assert_eq!(streams[0].position(), streams[1].position());
    for market in [&one, &other] {
        assert_eq!(market.release(&id).await["status"], "approved", "who is told finds it");
    }
    other.act(&id, "yank", &json!({"reason": "because"})).await.expect(200);
    let begun = Instant::now();
    for news in &mut streams {
        assert_eq!(event(news).await.kind, Kind::Yanked);
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    for market in [&one, &other] {
        assert_eq!(market.release(&id).await["status"], "yanked");
        assert_eq!(market.get(ADDONS).await.json(), json!([]));
    }
    // Who listened at one goes on at the other.
    let position = streams[0].position().unwrap().to_owned();
    drop(streams);
    one.act(&id, "unyank", &json!({})).await.expect(200);
    let mut news = client(&other).news(Some(position));
    assert_eq!(event(&mut news).await.kind, Kind::Unyanked);

    // A replica that was killed between its commit and its call: the others find it.
    database.sql(&format!("UPDATE releases SET status = 'yanked', listed = 0 WHERE id = '{id}'"));
    let begun = Instant::now();
    assert_eq!(event(&mut news).await.kind, Kind::Yanked);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}
