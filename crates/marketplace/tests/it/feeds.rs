//! The Atom feed, badges, facts, and the installations that managers report.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::IF_NONE_MATCH;
use serde_json::{Value, json};
use service_kit::limit::Rate;

use crate::market::{Answer, Market, document, eventually};
use crate::registry::{Registry, error};

const FEED: &str = "/api/v1/marketplace/feed.atom";
const STATS: &str = "/api/v1/marketplace/stats";
const INSTALLS: &str = "/api/v1/marketplace/installs";

async fn market() -> (Market, String, Registry) {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    (Market::beside(&registry).await, image, registry)
}

/// Asks again with what was answered: 304 without a body.
async fn unchanged(market: &Market, path: &str, answer: &Answer) {
    let etag = answer.header("etag");
    assert!(etag.starts_with('"'), "{path}");
    let again =
        market.finish(market.request(Method::GET, path).header(IF_NONE_MATCH, etag)).await.expect(304);
    assert_eq!((again.text.as_str(), again.header("etag")), ("", etag), "{path}");
}

/// Texts of the elements of a name, wherever they stand.
fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_releases_are_in_the_feed() {
    let (market, image, _registry) = market().await;
    let empty = market.get(FEED).await.expect(200);
    assert_eq!(empty.header("content-type"), "application/atom+xml");
    assert_eq!(elements(&empty.text, "id").len(), 1);
    unchanged(&market, FEED, &empty).await;

    let mut first = document("first", &image);
    first["description"] = "Says <b>\"hello\"</b> & more".into();
    let release = market.approved(&first).await;
    let mut second = document("Second", &image);
    second["version"] = "2.0.0-rc.1".into();
    market.approved(&second).await;
    let feed = market.get(FEED).await.expect(200);
    assert_ne!(feed.header("etag"), empty.header("etag"));
    assert_eq!(elements(&feed.text, "title"), ["New releases of addons", "Second 2.0.0-rc.1", "first 0.1.0"]);
    assert_eq!(elements(&feed.text, "summary"), ["Says &lt;b&gt;&quot;hello&quot;&lt;/b&gt; &amp; more"]);
    let updated = elements(&feed.text, "updated");
    assert_eq!(updated[0], updated[1], "the feed's is that of its newest entry");
    assert_eq!(updated[2], release["approved_at"].as_str().unwrap());
    assert_eq!(elements(&feed.text, "id")[0], elements(&empty.text, "id")[0], "the feed stays the one it is");
    let link = format!("/api/v1/marketplace/addons/{}", release["_id"].as_str().unwrap());
    assert!(feed.text.contains(&format!("href=\"{link}\"")), "{}", feed.text);
    market.get(&link).await.expect(200);

    let own = market.get(&format!("{FEED}?name=FIRST")).await.expect(200);
    assert_eq!(elements(&own.text, "title"), ["New releases of first", "first 0.1.0"]);
    assert_ne!(elements(&own.text, "id")[0], elements(&feed.text, "id")[0]);
    assert_eq!(elements(&own.text, "id")[1], elements(&feed.text, "id")[2], "an entry is the same in both");
    assert!(own.text.contains("feed.atom?name=first\""), "{}", own.text);

    market.act(release["_id"].as_str().unwrap(), "yank", &json!({"reason": "r"})).await.expect(200);
    market.get(&format!("{FEED}?name=first")).await.problem(404, "not-found");
    assert_eq!(elements(&market.get(FEED).await.text, "title").len(), 2);
    market.get(&format!("{FEED}?nam=first")).await.expect(400);
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_badge_says_how_an_addon_stands() {
    let (market, image, registry) = market().await;
    let badge = |name: &str, show: &str| {
        let path = format!("/api/v1/marketplace/by-name/{name}/badge.svg{show}");
        let market = &market;
        async move { (market.get(&path).await.expect(200), path) }
    };
    let title = |answer: &Answer| elements(&answer.text, "title")[0].to_owned();
    let (none, _) = badge("probe", "").await;
    assert_eq!(title(&none), "probe: not listed");
    let mut probe = document("Probe", &image);
    probe["version"] = "1.2.3".into();
    let release = market.approved(&probe).await;
    for (show, expected) in [
        ("", "Probe: v1.2.3"),
        ("?show=version", "Probe: v1.2.3"),
        ("?show=status", "Probe: approved"),
        ("?show=installs", "Probe installs: 0"),
    ] {
        let (answer, path) = badge("probe", show).await;
        assert_eq!(title(&answer), expected);
        assert_eq!(answer.header("content-type"), "image/svg+xml");
        assert_eq!(answer.header("cache-control"), "max-age=300");
        unchanged(&market, &path, &answer).await;
    }
    for hostile in ["%3Cscript%3Ealert(1)%3C", "a%22b", &"x".repeat(300)] {
        let path = format!("/api/v1/marketplace/by-name/{hostile}/badge.svg");
        market.get(&path).await.problem(404, "not-found");
    }

    let _gone = registry.switch(error(404, "MANIFEST_UNKNOWN")).await;
    let id = release["_id"].as_str().unwrap();
    market.act(id, "reverify", &json!({})).await.expect(200);
    eventually("its image is missed", || async {
        let (answer, _) = badge("probe", "?show=status").await;
        (title(&answer) == "Probe: image missing").then_some(())
    })
    .await;
    market.act(id, "yank", &json!({"reason": "r"})).await.expect(200);
    assert_eq!(title(&badge("probe", "?show=status").await.0), "probe: withdrawn");
    let wrong = market.get("/api/v1/marketplace/by-name/probe/badge.svg?show=stars").await;
    assert!(
        wrong.problem(400, "bad-query")["detail"].as_str().unwrap().contains("version, status, installs")
    );
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_are_counted_now_and_then() {
    let (market, image, _registry) = market().await;
    let empty = market.get(STATS).await.expect(200);
    assert_eq!(
        empty.json()["releases"],
        json!({"approved": 0, "rejected": 0, "revoked": 0, "under_review": 0,
        "verification_failed": 0, "yanked": 0})
    );
    market.approved(&document("probe", &image)).await;
    market.published(&document("failed", "registry.invalid/none:1")).await;
    let counted = eventually("they are counted", || async {
        let answer = market.get(STATS).await.expect(200);
        (answer.json()["addons"] == 2 && answer.json()["releases"]["approved"] == 1).then_some(answer)
    })
    .await;
    let stats = counted.json();
    assert_eq!(
        (&stats["listed"], &stats["publishers"], &stats["installs"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_ne!(stats["counted_at"], empty.json()["counted_at"]);
    let page = market.request(Method::GET, "/").header("accept", "text/html");
    let page = market.finish(page).await.expect(200).text;
    assert!(page.contains("<b>1</b> <span>releases are approved</span>"), "{page}");
    market.get(&format!("{STATS}?name=probe")).await.expect(400);
    let own = "/api/v1/marketplace/by-name/Probe/stats";
    let answer = market.get(own).await.expect(200);
    let stats = answer.json();
    assert_eq!(
        (&stats["name"], &stats["releases"], &stats["installs"]),
        (&json!("probe"), &json!(1), &json!(0))
    );
    assert_eq!(stats["first_approved_at"], stats["last_approved_at"]);
    unchanged(&market, own, &answer).await;
    market.get("/api/v1/marketplace/by-name/failed/stats").await.problem(404, "not-found");
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_did_not_change_are_not_sent_again() {
    let (market, clock) = Market::start_with_clock(|_| ()).await;
    let first = market.get(STATS).await.expect(200);
    assert_eq!(first.header("cache-control"), "no-cache");
    // Counted anew at the same time, they are the same.
    unchanged(&market, STATS, &first).await;
    clock.advance(Duration::from_secs(1));
    let later = eventually("they are counted anew", || async {
        let answer = market.get(STATS).await.expect(200);
        (answer.header("etag") != first.header("etag")).then_some(answer)
    })
    .await;
    assert_ne!(later.json()["counted_at"], first.json()["counted_at"]);
    market.stop().await;
}

fn report(number: u32, addon: &str) -> Value {
    json!({"addon": addon, "report": format!("{number:032x}")})
}

async fn reported(market: &Market, body: &Value) -> Answer {
    market.send(Method::POST, INSTALLS, None, Some(serde_json::to_vec(body).unwrap())).await
}

async fn installs(market: &Market, name: &str) -> Value {
    market.get(&format!("/api/v1/marketplace/by-name/{name}/stats")).await.expect(200).json()["installs"]
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_are_counted_once_and_show_in_the_order_alone() {
    let (market, image, _registry) = market().await;
    let before = market.approved(&document("older", &image)).await;
    market.approved(&document("newer", &image)).await;
    for number in [1, 2, 1, 2] {
        assert_eq!(reported(&market, &report(number, "OLDER")).await.expect(204).text, "");
    }
    assert_eq!(installs(&market, "older").await, 2);
    let order = market.get("/api/v1/marketplace/addons?sort=installs").await.expect(200).json();
    assert_eq!((&order[0]["name"], &order[1]["name"]), (&json!("older"), &json!("newer")));
    // A release says nothing of it: older clients take every field for one of its document.
    assert_eq!(order[0], before);
    let badge = market.get("/api/v1/marketplace/by-name/older/badge.svg?show=installs").await.expect(200);
    assert_eq!(elements(&badge.text, "title"), ["older installs: 2"]);

    reported(&market, &report(1, "none")).await.problem(404, "not-found");
    for body in [
        json!({"addon": "older", "report": "1"}),
        json!({"addon": "older"}),
        json!({"addon": "older", "report": "0".repeat(32), "host": "mine"}),
    ] {
        assert_eq!(reported(&market, &body).await.status, 422, "{body}");
    }
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_raise_a_count_at_will() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::start(|config| {
        registry.allow(config);
        config.installs.per_addon = Rate { burst: 3, interval_ms: 8 * 3_600_000 };
        config.installs.per_address = Rate { burst: 5, interval_ms: 1_800_000 };
    })
    .await;
    for name in ["a", "b", "c"] {
        market.approved(&document(name, &image)).await;
    }
    for number in 0..3 {
        reported(&market, &report(number, "a")).await.expect(204);
    }
    let refused = reported(&market, &report(3, "a")).await;
    assert_eq!(refused.header("retry-after"), "28800");
    refused.problem(429, "too-many-requests");
    reported(&market, &report(1, "a")).await.expect(204);
    assert_eq!(installs(&market, "a").await, 3, "what is known is no report too many, and counts no more");
    for (number, addon) in [(1, "b"), (2, "b")] {
        reported(&market, &report(number, addon)).await.expect(204);
    }
    reported(&market, &report(1, "c")).await.problem(429, "too-many-requests");
    assert_eq!(installs(&market, "c").await, 0);
    market.stop().await;
}
