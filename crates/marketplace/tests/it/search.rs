//! Searching: words, filters, orders, cursors, counts.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use postgres_for_tests::{Database, empty_database};
use reqwest::Method;
use reqwest::header::IF_NONE_MATCH;
use serde_json::{Value, json};
use service_kit::config::Secret;

use crate::market::{ADDONS, Market, document, eventually};
use crate::process::marketplace;
use crate::registry::Registry;

const FACETS: &str = "/api/v1/marketplace/facets";

async fn market() -> (Market, Registry) {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    for (name, description, category, keywords) in [
        ("mqtt-broker", "Takes messages of sensors", "messaging", json!(["mqtt", "broker"])),
        ("camera", "Shows what a camera sees, over MQTT", "media", json!(["video"])),
        ("grafana", "Shows measurements", "media", json!(["dashboard", "mqtt"])),
    ] {
        let mut document = document(name, &image);
        document["description"] = description.into();
        document["categories"] = json!([category]);
        document["keywords"] = keywords;
        market.approved(&document).await;
    }
    (market, registry)
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|release| release["name"].as_str().unwrap()).collect()
}

/// What the binary says while it starts on a database, until it is ready.
async fn said_at_start(folder: &Path, database: &Database) -> String {
    let log = folder.join("log");
    let file = File::options().create(true).append(true).open(&log).unwrap();
    let mut child = marketplace(folder)
        .env("MARKETPLACE__SERVER__PORT", "0")
        .env("MARKETPLACE__DATABASE__URL", database.url())
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let said = eventually("it listens", || async {
        let said = std::fs::read_to_string(&log).unwrap();
        said.contains("http://127.0.0.1:").then_some(said)
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_knows_no_other_alphabets_is_told_of() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    for (locale, knows) in [("C", false), ("C.UTF-8", true)] {
        let (database, folder) = (empty_database(locale), tempfile::tempdir().unwrap());
        let said = said_at_start(folder.path(), &database).await;
        assert_eq!(!said.contains("knows the letters A to Z alone"), knows, "{locale}: {said}");
        assert_eq!(!said.contains("createdb --encoding UTF8"), knows, "{locale}: {said}");

        let token = std::fs::read_to_string(folder.path().join("admin-token")).unwrap();
        let market = Market::joining(token.trim(), |config| {
            registry.allow(config);
            config.database.url = Some(Secret::new(database.url()));
        })
        .await;
        let mut document = document("probe", &image);
        document["description"] = "\u{41f}\u{420}\u{418}\u{412}\u{415}\u{422} \u{c4}\u{d6}".into();
        market.approved(&document).await;
        for word in ["%D0%BF%D1%80%D0%B8%D0%B2%D0%B5%D1%82", "%C3%A4%C3%B6"] {
            let found = market.get(&format!("{ADDONS}?q={word}")).await.expect(200).json();
            assert_eq!(!found.as_array().unwrap().is_empty(), knows, "{locale}: it says what is so");
        }
        assert_eq!(market.app().storage().knows_letters().await.unwrap(), knows);
        // As the operators' handbook has it, for who moved to a better one.
        database.sql(
            "BEGIN; DELETE FROM listings;
             INSERT INTO listings (place, seq, addon, keywords, updated_at_ms, installs)
             SELECT place, seq, addon, keywords, updated_at_ms, installs FROM listing_rows; COMMIT",
        );
        let found = market.get(&format!("{ADDONS}?q=probe&sort=name")).await.expect(200).json();
        assert_eq!(names(&found), ["probe"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_filters_and_orders_choose() {
    let (market, _registry) = market().await;
    for (query, expected) in [
        ("q=mqtt", &["mqtt-broker", "grafana", "camera"][..]),
        ("q=mqtt&sort=oldest", &["mqtt-broker", "camera", "grafana"]),
        ("q=mqtt&sort=name", &["camera", "grafana", "mqtt-broker"]),
        ("q=shows+meas", &["grafana"]),
        ("q=nothing", &[]),
        ("category=Media", &["camera", "grafana"]),
        ("category=media&keyword=mqtt", &["grafana"]),
        ("q=mqtt&category=messaging&risk=1", &["mqtt-broker"]),
        ("platform=linux/amd64", &["mqtt-broker", "camera", "grafana"]),
        ("platform=linux/x86_64", &["mqtt-broker", "camera", "grafana"]),
        ("platform=Linux/amd64/v1", &["mqtt-broker", "camera", "grafana"]),
        ("platform=plan9/mips", &[]),
        ("sort=newest&limit=1", &["grafana"]),
        ("q=shows&name=camera", &["camera"]),
        ("q=mqtt&all_versions=true", &["mqtt-broker", "camera", "grafana"]),
        ("sort=newest&all_versions=true", &["grafana", "camera", "mqtt-broker"]),
    ] {
        let answer = market.get(&format!("{ADDONS}?{query}")).await.expect(200);
        assert_eq!(names(&answer.json()), expected, "{query}");
    }
    for query in ["q=%21", "risk=0", "sort=best", "sort=name&cursor=%21", "sort=name&all_versions=true"] {
        market.get(&format!("{ADDONS}?{query}")).await.problem(400, "bad-query");
    }
    market.get_as_admin(&format!("{ADDONS}?q=a&status=rejected")).await.problem(400, "bad-query");
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_lead_through_every_order() {
    let (market, _registry) = market().await;
    for query in [
        "q=mqtt",
        "sort=newest",
        "sort=updated",
        "sort=name",
        "sort=installs",
        "sort=relevance",
        "q=mqtt&all_versions=1",
    ] {
        let whole = market.get(&format!("{ADDONS}?{query}")).await.expect(200).json();
        assert_eq!(names(&whole).len(), 3, "{query}");
        let mut parts = Vec::new();
        let mut next = Some(format!("{ADDONS}?{query}&limit=1"));
        while let Some(url) = next {
            let part = market.get(&url).await.expect(200);
            let link = part.header("link");
            next = (!link.is_empty()).then(|| link.split(['<', '>']).nth(1).unwrap().to_owned());
            parts.extend(part.json().as_array().unwrap().clone());
        }
        assert_eq!(Value::from(parts), whole, "{query}");
    }
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_did_not_change_is_not_sent_again() {
    let (market, registry) = market().await;
    for path in [format!("{ADDONS}?q=mqtt"), format!("{FACETS}?q=mqtt"), format!("{ADDONS}?sort=installs")] {
        let answer = market.get(&path).await.expect(200);
        let etag = answer.header("etag").to_owned();
        assert_eq!(answer.header("cache-control"), "no-cache");
        let again = market.request(Method::GET, &path).header(IF_NONE_MATCH, &etag);
        market.finish(again).await.expect(304);
        let image = registry.push("a", "1").await.image;
        let name = format!("mqtt-{}", &etag[1..9]);
        market.approved(&document(&name, &image)).await;
        let again = market.request(Method::GET, &path).header(IF_NONE_MATCH, &etag);
        assert!(market.finish(again).await.expect(200).text.contains("mqtt") || path.contains("facets"));
    }
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facets_count_what_the_same_filters_find() {
    let (market, _registry) = market().await;
    let all = market.get(FACETS).await.expect(200).json();
    assert_eq!((&all["counted"], &all["complete"]), (&json!(3), &json!(true)));
    assert_eq!(all["category"], json!([{"value": "media", "count": 2}, {"value": "messaging", "count": 1}]));
    assert_eq!(all["keyword"][0], json!({"value": "mqtt", "count": 2}));
    assert_eq!(all["risk"], json!([{"value": "1", "count": 3}]));
    assert!(
        all["platform"].as_array().unwrap().contains(&json!({"value": "linux/amd64", "count": 3})),
        "{all}"
    );
    let media = market.get(&format!("{FACETS}?category=media&q=mqtt")).await.expect(200).json();
    assert_eq!(
        media["keyword"],
        json!([
        {"value": "dashboard", "count": 1}, {"value": "mqtt", "count": 1}, {"value": "video", "count": 1}])
    );
    for query in ["q=%21", "risk=9", "sort=name", "limit=1"] {
        market.get(&format!("{FACETS}?{query}")).await.expect(400);
    }
    market.stop().await;
}
