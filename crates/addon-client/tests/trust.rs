//! Bringing a store up to date beside a marketplace that changes while it is asked, answers with 304, or serves nothing.

#![cfg(all(feature = "http", feature = "trust"))]
#![allow(clippy::unwrap_used, reason = "everything here is a test or helps one")]

use std::collections::BTreeSet;
use std::time::Duration;

use addon_client::http::{SyncError, TrustTags};
use addon_client::trust::{
    Envelope, IndexRoot, Judgement, KeyEntry, KeySet, ListedRelease, ListedStatus, PublicKey, Revocations,
    RevokeRequest, Severity, ShardId, ShardSummary, SigningKey, TrustError, TrustStore, sign,
};
use addon_client::{ClientOptions, MarketplaceClient, ReleaseId, Timestamp};
use addon_descriptor::{Digest, Version};
use serde_json::json;
use wiremock::matchers::{body_json, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const NOW: Timestamp = Timestamp::from_millis(1_795_255_200_000);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const API: &str = "/api/v1/marketplace";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn keys(version: u64, seeds: &[u8], by: &[u8]) -> Envelope {
    let entries = seeds.iter().map(|seed| KeyEntry::new(PublicKey::of(&key(*seed)), NOW));
    let set = KeySet { version, created_at: NOW, keys: entries.collect() };
    let by: Vec<SigningKey> = by.iter().map(|seed| key(*seed)).collect();
    sign(&set, &by.iter().collect::<Vec<_>>())
}

fn line(version: &str) -> String {
    let release = ListedRelease {
        digest: Digest::of(version.as_bytes()),
        id: ReleaseId::new(1, [2; 8]),
        images: BTreeSet::new(),
        name: "probe".parse().unwrap(),
        status: ListedStatus::Approved,
        version: version.parse().unwrap(),
    };
    format!("{}\n", serde_json::to_string(&release).unwrap())
}

fn root(version: u64, keys: u64, line: &str, by: u8) -> Envelope {
    let summary = ShardSummary {
        shard: ShardId::of("probe"),
        digest: Digest::of(line.as_bytes()),
        bytes: line.len() as u64,
        entries: 1,
    };
    let root = IndexRoot {
        version,
        created_at: NOW,
        expires_at: NOW + WEEK,
        keys,
        revocations: 0,
        shards: vec![summary],
        audit: None,
    };
    sign(&root, &[&key(by)])
}

fn feed(by: u8) -> Envelope {
    let feed =
        Revocations { version: 1, created_at: NOW, expires_at: NOW + WEEK, keys: 1, entries: Vec::new() };
    sign(&feed, &[&key(by)])
}

async fn serve(server: &MockServer, at: &str, envelope: &Envelope) {
    let answer = ResponseTemplate::new(200).set_body_json(envelope).insert_header("etag", "\"1\"");
    Mock::given(method("GET")).and(path(format!("{API}/{at}"))).respond_with(answer).mount(server).await;
}

async fn serve_part(server: &MockServer, line: &str) {
    let at = path(format!("{API}/index/{}", ShardId::of("probe")));
    let digest = query_param("digest", Digest::of(line.as_bytes()).to_string());
    let answer = ResponseTemplate::new(200).set_body_string(line);
    Mock::given(method("GET")).and(at).and(digest).respond_with(answer).mount(server).await;
}

fn client(server: &MockServer) -> MarketplaceClient {
    MarketplaceClient::new(ClientOptions::new(server.uri().parse().unwrap())).unwrap()
}

async fn sync(server: &MockServer, store: &mut TrustStore, tags: &mut TrustTags) -> Result<(), SyncError> {
    client(server).sync_trust(store, tags, &["probe"], NOW).await
}

fn judge<'a>(store: &'a TrustStore, version: &str) -> Judgement<'a> {
    let parsed: Version = version.parse().unwrap();
    store.check_release("probe", &parsed, Digest::of(version.as_bytes()), &[], NOW)
}

#[tokio::test]
async fn what_is_known_is_not_sent_again() {
    let server = MockServer::start().await;
    for at in ["index", "revocations"] {
        let known = header("if-none-match", "\"1\"");
        let answer = ResponseTemplate::new(304);
        let at = path(format!("{API}/{at}"));
        Mock::given(method("GET")).and(at).and(known).respond_with(answer).expect(1).mount(&server).await;
    }
    serve(&server, "keys", &keys(1, &[1], &[1])).await;
    serve(&server, "index", &root(1, 1, &line("1.0.0"), 1)).await;
    serve_part(&server, &line("1.0.0")).await;
    serve(&server, "revocations", &feed(1)).await;
    let (mut store, mut tags) = (TrustStore::new(), TrustTags::default());
    sync(&server, &mut store, &mut tags).await.unwrap();
    assert_eq!(judge(&store, "1.0.0"), Judgement::Approved);
    assert_eq!(judge(&store, "2.0.0"), Judgement::Unlisted);
    let before = store.clone();
    sync(&server, &mut store, &mut tags).await.unwrap();
    assert_eq!(store, before);
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 6, "keys, index, part and feed; then index and feed");
    // Tags without what they stand for are not sent.
    sync(&server, &mut TrustStore::new(), &mut tags).await.unwrap();
}

#[tokio::test]
async fn a_newer_key_is_followed_and_a_strangers_is_not() {
    let server = MockServer::start().await;
    serve(&server, "keys", &keys(1, &[1], &[1])).await;
    serve(&server, "keys/2", &keys(2, &[1, 2], &[1, 2])).await;
    serve(&server, "index", &root(1, 2, &line("1.0.0"), 2)).await;
    serve_part(&server, &line("1.0.0")).await;
    serve(&server, "revocations", &feed(2)).await;
    let (mut store, mut tags) = (TrustStore::new(), TrustTags::default());
    sync(&server, &mut store, &mut tags).await.unwrap();
    assert_eq!((store.keys().unwrap().version, judge(&store, "1.0.0")), (2, Judgement::Approved));

    let stranger = MockServer::start().await;
    serve(&stranger, "index", &root(9, 2, &line("6.6.6"), 9)).await;
    let before = store.clone();
    let refused = sync(&stranger, &mut store, &mut TrustTags::default()).await;
    assert!(matches!(refused, Err(SyncError::Trust(TrustError::UnknownKey { .. }))), "{refused:?}");
    assert_eq!(store, before);
}

#[tokio::test]
async fn a_root_that_changes_meanwhile_is_read_again() {
    let server = MockServer::start().await;
    serve(&server, "keys", &keys(1, &[1], &[1])).await;
    // The first root's part is gone by the time it is asked for.
    let old = ResponseTemplate::new(200).set_body_json(root(1, 1, &line("1.0.0"), 1));
    let at = path(format!("{API}/index"));
    Mock::given(method("GET")).and(at).respond_with(old).up_to_n_times(1).mount(&server).await;
    serve(&server, "index", &root(2, 1, &line("2.0.0"), 1)).await;
    serve_part(&server, &line("2.0.0")).await;
    serve(&server, "revocations", &feed(1)).await;
    let mut store = TrustStore::new();
    sync(&server, &mut store, &mut TrustTags::default()).await.unwrap();
    assert_eq!((store.index().unwrap().version, judge(&store, "2.0.0")), (2, Judgement::Approved));

    // One that never settles is given up.
    let restless = MockServer::start().await;
    serve(&restless, "keys", &keys(1, &[1], &[1])).await;
    serve(&restless, "index", &root(1, 1, &line("1.0.0"), 1)).await;
    let given_up = sync(&restless, &mut TrustStore::new(), &mut TrustTags::default()).await;
    assert!(matches!(given_up, Err(SyncError::Unsettled)), "{given_up:?}");
}

#[tokio::test]
async fn a_marketplace_that_signs_nothing_says_so() {
    let server = MockServer::start().await;
    let nothing = sync(&server, &mut TrustStore::new(), &mut TrustTags::default()).await;
    assert!(matches!(nothing, Err(SyncError::Unsigned)), "{nothing:?}");
}

#[tokio::test]
async fn a_revocation_is_sent_with_what_is_said_of_it() {
    let server = MockServer::start().await;
    let id = "6b00fc9223516c5e37bee27c";
    let body = json!({"reason": "it leaks", "severity": "block-install", "fixed_in": "1.2.4"});
    let answer = json!({"_id": id, "name": "probe", "status": "revoked"});
    Mock::given(method("POST"))
        .and(path(format!("{API}/addons/{id}/revoke")))
        .and(body_json(&body))
        .respond_with(ResponseTemplate::new(200).set_body_json(&answer))
        .mount(&server)
        .await;
    let said = RevokeRequest {
        reason: Some("it leaks".to_owned()),
        severity: Some(Severity::BlockInstall),
        fixed_in: Some("1.2.4".parse().unwrap()),
        digest: None,
    };
    let revoked = client(&server).revoke(id.parse().unwrap(), &said).await.unwrap();
    assert_eq!(revoked.status, addon_client::ReleaseStatus::Revoked);
}
