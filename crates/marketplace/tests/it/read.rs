//! Reading: lists, releases, names, and what is kept of them.

use addon_descriptor::Digest;
use reqwest::Method;
use serde_json::{Value, json};

use crate::market::{ADDONS, Market, document};
use crate::registry::Registry;

const NOWHERE: &str = "registry.invalid/a:1";

async fn market_with(releases: &[(&str, &str)]) -> (Market, Registry, Vec<String>) {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let mut ids = Vec::new();
    for (name, version) in releases {
        let mut document = document(name, &image);
        document["version"] = (*version).into();
        ids.push(market.approved(&document).await["_id"].as_str().unwrap().to_owned());
    }
    (market, registry, ids)
}

fn names(list: &Value) -> Vec<String> {
    let name = |release: &Value| {
        format!("{} {}", release["name"].as_str().unwrap(), release["version"].as_str().unwrap())
    };
    list.as_array().unwrap().iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_the_newest_approved_of_each_addon_oldest_first() {
    let (market, _registry, _) = market_with(&[
        ("b", "1.0.0"),
        ("a", "1.0.0"),
        ("a", "1.1.0"),
        ("a", "2.0.0-rc.1"),
        ("c", "1.0.0-rc.1"),
    ])
    .await;
    market.published(&document("hidden", NOWHERE)).await;
    let list = async |query: &str| names(&market.get(&format!("{ADDONS}{query}")).await.expect(200).json());
    assert_eq!(list("").await, ["b 1.0.0", "a 1.1.0", "c 1.0.0-rc.1"]);
    assert_eq!(list("?name=A").await, ["a 1.1.0"]);
    assert_eq!(list("?name=b&name=a").await, ["b 1.0.0"]);
    assert_eq!(list("?name=").await, [""; 0]);
    assert_eq!(list("?name=hidden").await, [""; 0]);
    assert_eq!(
        list("?all_versions=true").await,
        ["b 1.0.0", "a 1.0.0", "a 1.1.0", "a 2.0.0-rc.1", "c 1.0.0-rc.1"]
    );
    assert_eq!(list("?all_versions=true&name=a").await.len(), 3);
    for query in ["?limit=0", "?cursor=x", "?status=fine", "?q=-", "?sort=best"] {
        market.get(&format!("{ADDONS}{query}")).await.problem(400, "bad-query");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_links_while_entries_come_and_go() {
    let (market, _registry, ids) = market_with(&[("a", "1.0.0"), ("b", "1.0.0"), ("c", "1.0.0")]).await;
    let first = market.get(&format!("{ADDONS}?limit=2")).await.expect(200);
    assert_eq!(names(&first.json()), ["a 1.0.0", "b 1.0.0"]);
    let link = first.header("link");
    let next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    market.delete(&ids[1]).await.expect(204);
    let second = market.get(next).await.expect(200);
    assert_eq!(names(&second.json()), ["c 1.0.0"]);
    assert_eq!(second.header("link"), "");
    assert_eq!(market.get(ADDONS).await.header("link"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_revalidated_and_never_older_than_a_write() {
    let (market, _registry, ids) = market_with(&[("a", "1.0.0")]).await;
    for path in
        [ADDONS.to_owned(), format!("{ADDONS}/{}", ids[0]), "/api/v1/marketplace/by-name/a".to_owned()]
    {
        let first = market.get(&path).await.expect(200);
        assert_eq!(first.header("cache-control"), "no-cache");
        let etag = first.header("etag").to_owned();
        assert!(etag.starts_with('"'), "{path}: {etag}");
        let again = market
            .finish(market.request(Method::GET, &path).header("if-none-match", &etag))
            .await
            .expect(304);
        assert_eq!((again.text.as_str(), again.header("etag")), ("", etag.as_str()));
        assert_eq!(market.get(&path).await.expect(200).text, first.text);
        let head = market.send(Method::HEAD, &path, None, None).await.expect(200);
        assert_eq!((head.text.as_str(), head.header("etag")), ("", etag.as_str()));
    }
    market.delete(&ids[0]).await.expect(204);
    assert_eq!(market.get(ADDONS).await.expect(200).text, "[]");
    market.get(&format!("{ADDONS}/{}", ids[0])).await.problem(404, "not-found");
    market.get("/api/v1/marketplace/by-name/a").await.problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_statuses_are_for_reviewers_and_publishers() {
    let market = Market::start(|_| ()).await;
    let paul = market.token("paul", &["publish"], None).await;
    let rita = market.token("rita", &["review"], None).await;
    let body = |name: &str| Some(serde_json::to_vec(&document(name, NOWHERE)).unwrap());
    let id = market.send(Method::POST, ADDONS, Some(&paul), body("of-paul")).await.expect(201).json();
    let id = id["_id"].as_str().unwrap().to_owned();
    market.published(&document("of-admin", NOWHERE)).await;

    let path = format!("{ADDONS}?status=under_review");
    market.get(&path).await.problem(401, "unauthorized");
    let list = async |token: &str| {
        names(&market.send(Method::GET, &path, Some(token), None).await.expect(200).json())
    };
    assert_eq!(list(&paul).await, ["of-paul 0.1.0"]);
    assert_eq!(list(&rita).await, ["of-paul 0.1.0", "of-admin 0.1.0"]);

    assert_eq!(market.release(&id).await["status"], "under_review", "by id for everyone");
    let report = format!("{ADDONS}/{id}/verification");
    market.get(&report).await.problem(401, "unauthorized");
    let other = market.token("mallory", &["publish"], None).await;
    market.send(Method::GET, &report, Some(&other), None).await.problem(403, "missing-scope");
    for token in [&paul, &rita] {
        market.send(Method::GET, &report, Some(token), None).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_public_read_nothing_is_for_nobody() {
    let market = Market::start(|config| config.auth.public_read = Some(false)).await;
    let id = market.published(&document("probe", NOWHERE)).await;
    for path in [ADDONS.to_owned(), format!("{ADDONS}/{id}"), format!("{ADDONS}/{id}/descriptor")] {
        market.get_as_admin(&path).await.expect(200);
        market.get(&path).await.problem(401, "unauthorized");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_descriptors_bytes_have_the_releases_digest() {
    let market = Market::start(|_| ()).await;
    let id = market.published(&document("probe", NOWHERE)).await;
    let answer = market.get(&format!("{ADDONS}/{id}/descriptor")).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(Digest::of(answer.text.as_bytes()).to_string(), market.release(&id).await["digest"]);
    assert_eq!(answer.json()["version"], "0.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_of_the_document_is_served() {
    let market = Market::start(|_| ()).await;
    let path = "/api/v1/marketplace/schema";
    let answer = market.get(path).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/schema+json");
    assert_eq!(answer.json(), addon_descriptor::schema());
    let etag = answer.header("etag").to_owned();
    market.finish(market.request(Method::GET, path).header("if-none-match", etag)).await.expect(304);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_lead_to_releases() {
    let (market, _registry, _) =
        market_with(&[("My.Probe", "1.0.0"), ("My.Probe", "1.2.0+build"), ("My.Probe", "2.0.0-rc.1")]).await;
    let at = |rest: &str| format!("/api/v1/marketplace/by-name/{rest}");
    let all = market.get(&at("my-probe")).await.expect(200).json();
    assert_eq!(names(&all), ["My.Probe 1.2.0+build", "My.Probe 1.0.0", "My.Probe 2.0.0-rc.1"]);
    for (path, version) in [
        ("my_probe?version=*", "1.2.0+build"),
        ("my%20probe?version=*", "1.2.0+build"),
        ("MY-PROBE?version=~1.0", "1.0.0"),
        ("my-probe?version=%5E1", "1.2.0+build"),
        ("my-probe?version=^2.0.0-rc.1", "2.0.0-rc.1"),
        ("my-probe/1.0.0", "1.0.0"),
        ("my-probe/1.2.0", "1.2.0+build"),
        ("my-probe/1.2.0+other", "1.2.0+build"),
        ("my-probe/2.0.0-rc.1", "2.0.0-rc.1"),
    ] {
        assert_eq!(market.get(&at(path)).await.expect(200).json()["version"], version, "{path}");
    }
    for path in ["other", "my-probe?version=^3", "my-probe/9.9.9", "my-probe/x", "my!probe"] {
        market.get(&at(path)).await.problem(404, "not-found");
    }
    market.get(&at("my-probe?version=newest")).await.problem(400, "bad-query");
    // Without a value it is not there, whatever is kept of other answers.
    let empty = market.get(&at("my-probe?version=")).await.expect(200).json();
    assert_eq!(empty, market.get(&at("my-probe")).await.expect(200).json());
    assert!(empty.is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_releases_of_a_name_come_in_parts_too() {
    let (market, _registry, ids) =
        market_with(&[("a", "1.0.0"), ("a", "2.0.0+b"), ("a", "2.1.0-rc.1"), ("a", "3.0.0"), ("b", "1.0.0")])
            .await;
    let mut next = "/api/v1/marketplace/by-name/A?limit=2".to_owned();
    let mut parts = Vec::new();
    while !next.is_empty() {
        let part = market.get(&next).await.expect(200);
        parts.push(names(&part.json()));
        let link = part.header("link").to_owned();
        next = link.trim_start_matches('<').trim_end_matches(">; rel=\"next\"").to_owned();
        if parts.len() == 1 {
            // Where the next part begins is still a place when its release is gone.
            market.delete(&ids[1]).await.expect(204);
        }
    }
    assert_eq!(parts, [["a 3.0.0", "a 2.0.0+b"], ["a 1.0.0", "a 2.1.0-rc.1"]]);
    let all = market.get("/api/v1/marketplace/by-name/a").await.expect(200);
    assert_eq!((names(&all.json()).len(), all.header("link")), (3, ""));
    let end = market.get("/api/v1/marketplace/by-name/a?cursor=2.1.0-rc.1").await.expect(200);
    assert_eq!(end.text, "[]");
    for query in ["limit=0", "limit=1001", "cursor=x", "cursor=1"] {
        market.get(&format!("/api/v1/marketplace/by-name/a?{query}")).await.problem(400, "bad-query");
    }
    let client = addon_client::MarketplaceClient::new(addon_client::ClientOptions::new(
        market.app().running().url().parse().unwrap(),
    ));
    let versions = client.unwrap().versions("a").await.unwrap().unwrap();
    assert_eq!(versions.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_addon_of_which_nothing_is_approved_is_told_where_it_stands() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let id = market.published(&document("probe", &registry.image("missing:1"))).await;
    market.until(&id, "verification_failed").await;
    for rest in ["probe", "probe?version=*", "probe?version=%3D0.1.0", "probe/0.1.0"] {
        let path = format!("/api/v1/marketplace/by-name/{rest}");
        let problem = market.get(&path).await.problem(404, "not-found");
        let (rule, said) = (&problem["errors"][0]["rule"], problem["errors"][0]["message"].as_str().unwrap());
        assert_eq!(rule, "release-not-approved", "{rest}");
        assert!(said.starts_with("probe 0.1.0 is verification_failed: its publisher"), "{said}");
        assert!(
            !problem.to_string().contains(&id) && !said.contains("missing"),
            "nothing else is told: {problem}"
        );
    }
    for rest in ["probe?version=%5E1", "probe/1.0.0", "another"] {
        let problem =
            market.get(&format!("/api/v1/marketplace/by-name/{rest}")).await.problem(404, "not-found");
        assert_eq!(problem.get("errors"), None, "{rest}: {problem}");
    }
    let client = addon_client::MarketplaceClient::new(addon_client::ClientOptions::new(
        market.app().running().url().parse().unwrap(),
    ));
    let why = client.unwrap().resolve_or_why("probe", None).await.unwrap().unwrap_err();
    assert!(why.unwrap().contains("0.1.0 is verification_failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_ids_paths_and_methods_are_said_to_be() {
    let market = Market::start(|_| ()).await;
    for id in ["6b00fc9223516c5e37bee27c", "xyz", "6b00fc9223516c5e37bee27", "%20"] {
        for rest in ["", "/descriptor"] {
            let problem = market.get(&format!("{ADDONS}/{id}{rest}")).await.problem(404, "not-found");
            assert_eq!(problem["message"], "Addon not found");
        }
        market.delete(id).await.problem(404, "not-found");
        market.get_as_admin(&format!("{ADDONS}/{id}/verification")).await.problem(404, "not-found");
        for action in ["approve", "reverify"] {
            market.act(id, action, &json!({})).await.problem(404, "not-found");
        }
        market.act(id, "reject", &json!({"reason": "no"})).await.problem(404, "not-found");
    }
    market.get("/api/v1/marketplace/nothing").await.problem(404, "not-found");
    let refused = market.send(Method::PUT, ADDONS, None, None).await;
    assert_eq!(refused.header("allow"), "GET, HEAD, OPTIONS, POST");
    refused.problem(405, "method-not-allowed");
}
