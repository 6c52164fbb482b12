//! What is signed, from the change of a release to the verdict of a host: index, revocations, keys and their rotation.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use addon_client::http::{SyncError, TrustTags};
use addon_client::trust::{Judgement, PublicKey, Severity, TrustError, TrustStore};
use addon_client::{ClientOptions, MarketplaceClient, Timestamp};
use addon_descriptor::{Digest, Version};
use marketplace::app::{App, BuildError};
use marketplace::config::Config;
use marketplace::storage::Storage;
use marketplace::trust::{KeysCommand, SigningError, key_file};
use reqwest::Method;
use serde_json::{Value, json};
use service_kit::clock::{Clock as _, SharedClock, SystemClock, TestClock};
use service_kit::config::Secret;

use crate::market::{ADDONS, Market, document, eventually, postgres};
use crate::registry::Registry;

const INDEX: &str = "/api/v1/marketplace/index";
const KEYS: &str = "/api/v1/marketplace/keys";
const REVOCATIONS: &str = "/api/v1/marketplace/revocations";

/// A host that copies a marketplace.
struct Host {
    client: MarketplaceClient,
    store: TrustStore,
    tags: TrustTags,
}

impl Host {
    fn of(market: &Market) -> Self {
        Self::with(market, TrustStore::new())
    }

    fn with(market: &Market, store: TrustStore) -> Self {
        let url = market.app().running().url().parse().unwrap();
        let client = MarketplaceClient::new(ClientOptions::new(url)).unwrap();
        Self { client, store, tags: TrustTags::default() }
    }

    async fn sync(&mut self, now: Timestamp) -> Result<(), SyncError> {
        self.client.sync_trust(&mut self.store, &mut self.tags, &["probe"], now).await
    }

    /// What it thinks of a release as the marketplace serves it.
    fn judge(&self, release: &Value, now: Timestamp) -> Judgement<'_> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let version: Version = text(&release["version"]).parse().unwrap();
        let digest: Digest = text(&release["digest"]).parse().unwrap();
        let pins = release["pins"].as_array().unwrap();
        let images: Vec<Digest> = pins.iter().map(|pin| text(&pin["digest"]).parse().unwrap()).collect();
        self.store.check_release(&text(&release["name"]), &version, digest, &images, now)
    }

    /// Looks again and again until it thinks so; answers after how long.
    async fn until(&mut self, release: &Value, holds: impl Fn(&Judgement<'_>) -> bool) -> Duration {
        let begun = Instant::now();
        loop {
            let now = SystemClock.now();
            match self.sync(now).await {
                // At the very start nothing is signed yet.
                Ok(()) => (),
                Err(SyncError::Client(error)) if error.status() == Some(503) => (),
                Err(error) => panic!("{error:?}"),
            }
            let judgement = self.judge(release, now);
            if holds(&judgement) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it still says: {judgement}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn document_of(version: &str, image: &str) -> Value {
    let mut document = document("probe", image);
    document["version"] = version.into();
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_hear_of_every_change_within_about_a_second() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let one = market.approved(&document_of("1.0.0", &image)).await;
    let two = market.approved(&document_of("2.0.0", &image)).await;
    let mut host = Host::of(&market);
    host.until(&one, |judgement| *judgement == Judgement::Approved).await;
    host.until(&two, |judgement| *judgement == Judgement::Approved).await;

    let id = |release: &Value| release["_id"].as_str().unwrap().to_owned();
    market.act(&id(&one), "yank", &json!({"reason": "old"})).await.expect(200);
    let took = host.until(&one, |judgement| *judgement == Judgement::Yanked).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    let stop = json!({"reason": "it mines coins", "severity": "stop", "fixed_in": "2.0.1"});
    let revoked = market.act(&id(&two), "revoke", &stop).await.expect(200).json();
    assert_eq!((&revoked["status"], &revoked["reason"]), (&json!("revoked"), &json!("it mines coins")));
    let took = host.until(&two, |judgement| judgement.asks_to_stop()).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
    market.act(&id(&one), "revoke", &json!({"reason": "too", "severity": "warn"})).await.expect(200);
    host.until(&one, |judgement| judgement.severity() == Some(Severity::Warn)).await;
    // It is worse than it seemed.
    let raised = json!({"reason": "it spies", "severity": "stop", "fixed_in": "9.9.9"});
    let raised = market.act(&id(&one), "revoke", &raised).await.expect(200).json();
    assert_eq!((&raised["status"], &raised["reason"]), (&json!("revoked"), &json!("it spies")));
    host.until(&one, |judgement| judgement.asks_to_stop()).await;
    assert_eq!(market.get(ADDONS).await.json(), json!([]), "what is revoked is in no list");
    assert_eq!(market.release(&id(&two)).await["status"], "revoked", "and served by its id");

    // Nothing that a host was told before is taken from it by a marketplace that starts again.
    let feed = host.store.revocations().unwrap();
    let sequences: Vec<u64> = feed.entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
    market.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_is_asked_for_again_cheaply() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let release = market.approved(&document("probe", &registry.push("a", "1").await.image)).await;
    let mut host = Host::of(&market);
    host.until(&release, |judgement| judgement.allows_install()).await;
    for path in [INDEX, KEYS, REVOCATIONS] {
        let answer = market.get(path).await.expect(200);
        assert_eq!(
            (answer.header("cache-control"), answer.header("content-type")),
            ("no-cache", "application/json")
        );
        let tag = answer.header("etag").to_owned();
        let again = market.request(Method::GET, path).header("if-none-match", &tag);
        let again = market.finish(again).await.expect(304);
        assert_eq!((again.text.as_str(), again.header("etag")), ("", tag.as_str()));
        let other = market.request(Method::GET, path).header("if-none-match", "\"x\"");
        market.finish(other).await.expect(200);
        market.get(&format!("{path}?x=1")).await.problem(400, "bad-query");
    }
    let first = market.get(&format!("{KEYS}/1")).await.expect(200);
    assert!(first.header("cache-control").contains("immutable"));
    assert_eq!(first.text, market.get(KEYS).await.text);
    for none in ["2", "0", "x", "-1", "99999999999999999999"] {
        market.get(&format!("{KEYS}/{none}")).await.problem(404, "not-found");
    }

    let summary = host.store.index().unwrap().shards[0];
    let path = format!("{INDEX}/{}", summary.shard);
    let newest = market.get(&path).await.expect(200);
    assert_eq!(
        (newest.header("cache-control"), newest.header("content-type")),
        ("no-cache", "application/jsonl")
    );
    let unsaid = market.get(&format!("{path}?digest=")).await.expect(200);
    assert_eq!(unsaid.header("cache-control"), "no-cache", "without a digest it changes");
    let meant = market.get(&format!("{path}?digest={}", summary.digest)).await.expect(200);
    assert!(meant.header("cache-control").contains("immutable"));
    assert_eq!((Digest::of(meant.text.as_bytes()), &meant.text), (summary.digest, &newest.text));
    assert!(!meant.text.contains("under_review"));
    let empty = if summary.shard.number() == 0 { "01" } else { "00" };
    market.get(&format!("{INDEX}/{empty}")).await.problem(404, "not-found");
    let other = Digest::of(b"other");
    market.get(&format!("{path}?digest={other}")).await.problem(404, "not-found");
    market.get(&format!("{path}?digest=x")).await.problem(400, "bad-query");
    for none in ["zz", "0", "000", "AB"] {
        market.get(&format!("{INDEX}/{none}")).await.problem(404, "not-found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_takes_the_scope_a_reason_and_a_severity() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let image = registry.push("a", "1").await.image;
    let release = market.approved(&document_of("1.2.3", &image)).await;
    let id = release["_id"].as_str().unwrap();
    let good = json!({"reason": "it leaks", "severity": "block-install"});
    let path = format!("{ADDONS}/{id}/revoke");
    let body = |body: &Value| Some(serde_json::to_vec(body).unwrap());
    market.send(Method::POST, &path, None, body(&good)).await.problem(401, "unauthorized");
    for (scopes, names) in [(&["read", "publish"][..], None), (&["review"], Some("other-*"))] {
        let token = market.token("somebody", scopes, names).await;
        market.send(Method::POST, &path, Some(&token), body(&good)).await.expect(403);
    }
    for (said, code) in [
        (json!({}), "reason-required"),
        (json!({"severity": "warn", "reason": " "}), "reason-required"),
        (json!({"reason": "r"}), "severity-required"),
        (json!({"reason": "r", "severity": "loud"}), "invalid-body"),
        (json!({"reason": "r", "severity": "warn", "fixed_in": "soon"}), "invalid-body"),
        (json!({"reason": "r", "severity": "warn", "fixed_in": "1.2.3+build"}), "invalid-body"),
        (json!({"reason": "r", "severity": "warn", "fixed_in": "0.9.0"}), "invalid-body"),
        (json!({"reason": "r", "severity": "warn", "because": "x"}), "invalid-body"),
        (json!({"reason": "x".repeat(1001), "severity": "warn"}), "invalid-body"),
        (json!({"reason": "a\u{202e}b", "severity": "warn"}), "invalid-body"),
    ] {
        market.act(id, "revoke", &said).await.problem(422, code);
    }
    market.send(Method::POST, &path, Some(market.admin()), None).await.problem(422, "reason-required");
    let other = json!({"reason": "r", "severity": "warn", "digest": Digest::of(b"x")});
    market.act(id, "revoke", &other).await.problem(409, "digest-mismatch");
    let nowhere = "0".repeat(24);
    market.act(&nowhere, "revoke", &good).await.problem(404, "not-found");
    assert_eq!(market.release(id).await["status"], "approved", "nothing of this did anything");

    let review = market.token("rita", &["review"], Some("pro*")).await;
    let exact = json!({"reason": "it leaks", "severity": "block-install", "digest": release["digest"]});
    market.send(Method::POST, &path, Some(&review), body(&exact)).await.expect(200);
    // For good: no way leads back.
    for severity in ["warn", "block-install"] {
        let said = json!({"reason": "it leaks less", "severity": severity});
        let refused = market.act(id, "revoke", &said).await.problem(409, "not-raised");
        assert!(refused["detail"].as_str().unwrap().contains("severity block-install already"), "{refused}");
    }
    for (action, said) in [
        ("unyank", json!({})),
        ("yank", json!({"reason": "r"})),
        ("approve", json!({})),
        ("reverify", json!({})),
    ] {
        market.act(id, action, &said).await.problem(409, "wrong-status");
    }
    market.delete(id).await.problem(409, "wrong-status");
    market.publish(&document_of("1.2.3", &image)).await.expect(200);
    assert_eq!(market.release(id).await["status"], "revoked");

    let failed = market.published(&document("absent", &registry.image("missing:1"))).await;
    market.until(&failed, "verification_failed").await;
    market.act(&failed, "revoke", &good).await.problem(409, "wrong-status");
}

/// A key of a test's own, as an operator configures one.
fn configured(folder: &Path) -> impl FnOnce(&mut Config) + '_ {
    let path = folder.join("key.pem");
    key_file::create(&path, &key_file::generate(), None).unwrap();
    move |config| config.signing.key_file = Some(path)
}

async fn keys(market: &Market, folder: &Path, command: KeysCommand) -> Result<String, String> {
    let clock = SystemClock::shared();
    command
        .run(market.app().storage(), &clock, &folder.join("key.pem"))
        .await
        .map_err(|error| format!("{error:#}"))
}

fn public(folder: &Path) -> PublicKey {
    PublicKey::of(&key_file::load(&folder.join("key.pem")).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_beside_a_marketplace_that_runs_and_hosts_follow() {
    let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
    let image = registry.push("a", "1").await.image;
    let with_key = configured(folder.path());
    let market = Market::start(|config| {
        registry.allow(config);
        with_key(config);
    })
    .await;
    let release = market.approved(&document("probe", &image)).await;
    let mut host = Host::of(&market);
    host.until(&release, |judgement| judgement.allows_install()).await;
    let old = public(folder.path());
    let rotate = || KeysCommand::Rotate { out: None, without_old_key: false };
    let said = keys(&market, folder.path(), rotate()).await.unwrap();
    let new = public(folder.path());
    assert_ne!(old, new);
    assert!(said.contains(&new.id().to_string()) && said.contains(&old.id().to_string()), "{said}");
    let kept = folder.path().join(format!("key.pem.{}", &old.id().to_string()[..8]));
    let head = host.store.index().unwrap().audit.expect("the log has rows by now");
    let place = i64::try_from(head.position).unwrap();
    let there = market.app().storage().audit_hash_at(place).await.unwrap();
    assert_eq!(there, Some(head.hash.to_string()));
    assert_eq!(
        PublicKey::of(&key_file::load(&kept).unwrap()),
        old,
        "the old one stays beside it, for its owner alone"
    );

    // The host knows the old key alone, and follows to what the new one signs.
    let version = host.store.index().unwrap().version;
    eventually("the new key signs", || async {
        let index = market.get(INDEX).await.expect(200).json();
        (index["signatures"][0]["keyid"] == new.id().to_string()).then_some(())
    })
    .await;
    host.sync(SystemClock.now()).await.unwrap();
    assert!(host.store.index().unwrap().version > version);
    assert_eq!(host.store.keys().unwrap().version, 2);
    assert_eq!(host.judge(&release, SystemClock.now()), Judgement::Approved);

    let retire = |key: String| KeysCommand::Retire { key };
    for (key, words) in [
        (new.id().to_string(), "signs here"),
        ("ab".to_owned(), "too short"),
        ("0".repeat(64), "there is no key"),
    ] {
        let refused = keys(&market, folder.path(), retire(key)).await.unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
    keys(&market, folder.path(), retire(old.id().to_string()[..8].to_owned())).await.unwrap();
    let refused = keys(&market, folder.path(), retire(old.id().to_string())).await.unwrap_err();
    assert!(refused.contains("is retired since"), "{refused}");
    let listed = keys(&market, folder.path(), KeysCommand::List).await.unwrap();
    for words in ["Key set 3", "retired at", "signs here", &new.to_string(), &old.to_string()] {
        assert!(listed.contains(words), "{listed}");
    }
    eventually("hosts hear of it", || async {
        let mut host = Host::with(&market, host.store.clone());
        host.sync(SystemClock.now()).await.unwrap();
        (host.store.keys().unwrap().version == 3).then_some(())
    })
    .await;

    // A host that was told the old key goes along the chain from where that counted; one that was told another does not.
    let pin = old.to_string();
    let mut pinned = Host::with(&market, TrustStore::pinned([pin.as_str()]).unwrap());
    pinned.sync(SystemClock.now()).await.unwrap();
    assert_eq!(pinned.judge(&release, SystemClock.now()), Judgement::Approved);
    let pin = PublicKey::of(&key_file::generate()).to_string();
    let mut other = Host::with(&market, TrustStore::pinned([pin.as_str()]).unwrap());
    assert!(matches!(other.sync(SystemClock.now()).await, Err(SyncError::Trust(TrustError::NotPinned))));

    let log = market.get_as_admin("/api/v1/audit").await.expect(200).text;
    for action in ["key.create", "key.rotate", "key.retire"] {
        assert!(log.contains(action), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_other_replicas_is_written_where_it_is_wanted() {
    let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
    let with_key = configured(folder.path());
    let market = Market::start(|config| {
        registry.allow(config);
        with_key(config);
    })
    .await;
    let old = public(folder.path());
    let out = folder.path().join("new.pem");
    let rotate = |out: &Path| KeysCommand::Rotate { out: Some(out.to_owned()), without_old_key: false };
    let said = keys(&market, folder.path(), rotate(&out)).await.unwrap();
    assert!(said.contains("new.pem"), "{said}");
    assert_eq!(public(folder.path()), old, "the old one signs until each replica has the new one");
    let refused = keys(&market, folder.path(), rotate(&out)).await.unwrap_err();
    assert!(refused.contains("new.pem") && refused.contains("cannot be written"), "{refused}");
    let listed = keys(&market, folder.path(), KeysCommand::List).await.unwrap();
    assert!(listed.contains("Key set 2") && listed.contains("believed"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_is_replaced_and_hosts_are_told() {
    let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
    let image = registry.push("a", "1").await.image;
    let with_key = configured(folder.path());
    let market = Market::start(|config| {
        registry.allow(config);
        with_key(config);
    })
    .await;
    let release = market.approved(&document("probe", &image)).await;
    let mut host = Host::of(&market);
    host.until(&release, |judgement| judgement.allows_install()).await;
    std::fs::remove_file(folder.path().join("key.pem")).unwrap();
    let rotate = |without_old_key| KeysCommand::Rotate { out: None, without_old_key };
    let refused = keys(&market, folder.path(), rotate(false)).await.unwrap_err();
    assert!(refused.contains("--without-old-key"), "{refused}");
    keys(&market, folder.path(), rotate(true)).await.unwrap();
    let new = public(folder.path());
    eventually("the new key signs", || async {
        let index = market.get(INDEX).await.expect(200).json();
        (index["signatures"][0]["keyid"] == new.id().to_string()).then_some(())
    })
    .await;
    // Whoever knew the old one cannot tell this from a thief; what it knew it still knows.
    let before = host.store.clone();
    assert!(matches!(
        host.sync(SystemClock.now()).await,
        Err(SyncError::Trust(TrustError::ChainBroken { offered: 2 }))
    ));
    assert_eq!(host.store, before);
    let pin = new.to_string();
    let mut told = Host::with(&market, TrustStore::pinned([pin.as_str()]).unwrap());
    told.sync(SystemClock.now()).await.unwrap();
    assert_eq!(told.judge(&release, SystemClock.now()), Judgement::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_go_on_after_an_older_database_was_restored() {
    let (registry, folder) = (Registry::start().await, tempfile::tempdir().unwrap());
    let image = registry.push("a", "1").await.image;
    let mut market = Market::in_a_file(|config| registry.allow(config)).await;
    let one = market.approved(&document_of("1.0.0", &image)).await;
    let mut host = Host::of(&market);
    host.until(&one, |judgement| *judgement == Judgement::Approved).await;
    let file = folder.path().join("backup.db");
    market.back_up(&file).await;
    let lost = market.approved(&document_of("2.0.0", &image)).await;
    host.until(&lost, |judgement| *judgement == Judgement::Approved).await;
    let known = host.store.index().unwrap().version;
    market.restore(&file).await;
    let host = tokio::sync::Mutex::new(Host::with(&market, host.store));
    // For a moment that of the backup may still be served.
    eventually("the host takes what is signed", || async {
        let synced = host.lock().await.sync(SystemClock.now()).await;
        assert!(!matches!(synced, Err(SyncError::Trust(TrustError::Conflict { .. }))), "{synced:?}");
        synced.ok()
    })
    .await;
    let host = host.into_inner();
    assert!(host.store.index().unwrap().version > known);
    assert_eq!(host.judge(&one, SystemClock.now()), Judgement::Approved);
    assert_ne!(host.judge(&lost, SystemClock.now()), Judgement::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_wrong_is_got_over() {
    let registry = Registry::start().await;
    let (market, clock): (Market, TestClock) =
        Market::start_with_clock(|config| registry.allow(config)).await;
    let release = market.approved(&document("probe", &registry.push("a", "1").await.image)).await;
    let start = clock.now();
    let mut host = Host::of(&market);
    let judged = async |host: &mut Host, now: Timestamp| {
        host.sync(now).await.unwrap();
        host.judge(&release, now) == Judgement::Approved
    };
    eventually("it is signed", || async { (market.get(INDEX).await.status == 200).then_some(()) }).await;
    let mut version = 0;
    let day = Duration::from_secs(24 * 60 * 60);
    for now in [start, start + day, start + 3650 * day, start, start - day, start + 2 * day] {
        clock.set(now);
        let begun = Instant::now();
        loop {
            let good = judged(&mut host, now).await;
            let root = host.store.index().unwrap();
            if good && root.created_at == now && root.version > version {
                version = root.version;
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{now}: {root:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_used_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let clock: SharedClock = Arc::new(SystemClock);
    let state = folder.path().join("state");
    let mut config = Config { state_dir: Some(state.clone()), ..Config::default() };
    config.server.port = 0;
    let said = async |config: &Config| match App::build(config, Arc::clone(&clock)).await {
        Err(BuildError::Signing(error @ SigningError::KeyFile(_))) => {
            let source = std::error::Error::source(&error).unwrap().to_string();
            format!("{error}: {source}")
        }
        other => panic!("{:?}", other.map(|_| ())),
    };
    config.signing.key_file = Some(folder.path().join("nowhere.pem"));
    let words = said(&config).await;
    assert!(words.contains("signing.key_file") && words.contains("nowhere.pem"), "{words}");

    config.signing.key_file = None;
    App::build(&config, Arc::clone(&clock)).await.unwrap().stop().await;
    let made = state.join(key_file::NAME);
    assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&made, Permissions::from_mode(0o644)).unwrap();
    let words = said(&config).await;
    assert!(words.contains("0644") && words.contains("chmod 600"), "{words}");
    std::fs::set_permissions(&made, Permissions::from_mode(0o600)).unwrap();

    // A key that hosts do not know signs nothing, and keeps nothing from starting.
    let stranger = folder.path().join("stranger.pem");
    key_file::create(&stranger, &key_file::generate(), None).unwrap();
    config.signing.key_file = Some(stranger);
    let app = App::build(&config, Arc::clone(&clock)).await.unwrap();
    let set = reqwest::get(format!("{}{KEYS}", app.running().url())).await.unwrap();
    assert_eq!(set.status(), 200);
    assert!(!set.text().await.unwrap().is_empty());
    assert!(app.storage().key_set(Some(2)).await.unwrap().is_none());
    app.stop().await;
    // Nor does a lost one: what was signed is served until it expires, and no other key is made unasked.
    config.signing.key_file = None;
    std::fs::remove_file(&made).unwrap();
    App::build(&config, clock).await.unwrap().stop().await;
    assert!(!made.exists());
}

/// A marketplace on a state folder, which is started and stopped; or why it does not start.
async fn started(config: &Config) -> Result<String, String> {
    match App::build(config, SystemClock::shared()).await {
        Ok(app) => {
            let set = app.storage().key_set(None).await.unwrap().unwrap();
            app.stop().await;
            Ok(set)
        }
        Err(BuildError::Signing(error @ SigningError::Forgotten { .. })) => Err(error.to_string()),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_where_a_marketplace_has_signed_begins_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut config = Config { state_dir: Some(state.clone()), ..Config::default() };
    config.server.port = 0;
    let set = started(&config).await.unwrap();
    assert_eq!(started(&config).await.unwrap(), set);
    let backup = folder.path().join("backup.db");
    marketplace::backup::backup(&config, &backup).await.unwrap();
    let lose = || {
        for end in ["", "-wal", "-shm"] {
            _ = std::fs::remove_file(state.join(format!("marketplace.db{end}")));
        }
    };
    let (key, token) = (state.join(key_file::NAME), state.join("admin-token"));
    let before = [&key, &token].map(|path| std::fs::read(path).unwrap());
    lose();
    for _ in 0..2 {
        let words = started(&config).await.unwrap_err();
        for said in ["signing-key.pem", "marketplace restore FILE", "state_dir", "signing-key.pem away"] {
            assert!(words.contains(said), "{said}: {words}");
        }
        assert!(!state.join("marketplace.db").exists(), "what is restored finds nothing in its way");
    }
    assert_eq!([&key, &token].map(|path| std::fs::read(path).unwrap()), before, "nothing is written over");
    // An empty database that is there is refused as well.
    Storage::open_sqlite(&state.join("marketplace.db")).await.unwrap().db().close().await;
    started(&config).await.unwrap_err();
    lose();
    marketplace::backup::restore(&config, &backup).await.unwrap();
    assert_eq!(started(&config).await.unwrap(), set);
    // A new one is meant.
    lose();
    std::fs::rename(&key, folder.path().join("old.pem")).unwrap();
    assert_ne!(started(&config).await.unwrap(), set);
    assert_ne!(std::fs::read(&key).unwrap(), before[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_an_empty_one_of_a_server_also_with_a_key_of_the_operators() {
    let folder = tempfile::tempdir().unwrap();
    let databases = [postgres().await, postgres().await];
    let at = |config: &mut Config, number: usize| {
        config.database.url = Some(Secret::new(databases[number].url()));
    };
    let mut made = Config { state_dir: Some(folder.path().join("made")), ..Config::default() };
    made.server.port = 0;
    let mut given = Config { state_dir: Some(folder.path().join("given")), ..made.clone() };
    configured(folder.path())(&mut given);
    for config in [&mut made, &mut given] {
        at(config, 0);
    }
    let set = started(&made).await.unwrap();
    // The key of a replica that the database does not know has signed nothing.
    assert_eq!(started(&given).await.unwrap(), set);
    assert!(!folder.path().join("given/signing-key.id").exists());
    at(&mut made, 1);
    let words = started(&made).await.unwrap_err();
    assert!(words.contains("database.url") && words.contains("made/signing-key.pem away"), "{words}");

    at(&mut given, 1);
    let set = started(&given).await.unwrap();
    assert_eq!(started(&given).await.unwrap(), set);
    let empty = postgres().await;
    given.database.url = Some(Secret::new(empty.url()));
    let words = started(&given).await.unwrap_err();
    assert!(words.contains("given/signing-key.id away and name another key"), "{words}");
    at(&mut given, 1);
    assert_eq!(started(&given).await.unwrap(), set);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_signs_for_all_and_another_takes_over() {
    let (registry, database, folder) =
        (Registry::start().await, postgres().await, tempfile::tempdir().unwrap());
    let image = registry.push("a", "1").await.image;
    let path = folder.path().join("key.pem");
    key_file::create(&path, &key_file::generate(), None).unwrap();
    let configure = |config: &mut Config| {
        registry.allow(config);
        config.database.url = Some(Secret::new(database.url()));
        config.signing.key_file = Some(path.clone());
    };
    let one = Market::start(configure).await;
    let admin = one.admin().to_owned();
    let (two, three) = (Market::joining(&admin, configure).await, Market::joining(&admin, configure).await);
    let release = one.approved(&document("probe", &image)).await;
    let mut hosts = [Host::of(&two), Host::of(&three)];
    for host in &mut hosts {
        host.until(&release, |judgement| judgement.allows_install()).await;
    }
    assert_eq!(hosts[0].store.index(), hosts[1].store.index(), "there is one index of each version");
    one.stop().await;
    let id = release["_id"].as_str().unwrap();
    two.act(id, "revoke", &json!({"reason": "it leaks", "severity": "stop"})).await.expect(200);
    for host in &mut hosts {
        host.until(&release, |judgement| judgement.asks_to_stop()).await;
    }
    two.stop().await;
    let other = three.approved(&document_of("7.0.0", &image)).await;
    hosts[1].until(&other, |judgement| judgement.allows_install()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_and_changes_keys() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_marketplace"));
        command.env_clear().env("MARKETPLACE__STATE_DIR", folder.path()).arg("keys").args(arguments);
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (good, said, _) = run(&["list"]);
    assert!(good && said.contains("makes one when it starts"), "{said}");
    let (good, _, said) = run(&["rotate"]);
    assert!(!good && said.contains("start the marketplace once"), "{said}");
    let mut config = Config { state_dir: Some(folder.path().to_owned()), ..Config::default() };
    config.server.port = 0;
    let app = App::build(&config, SystemClock::shared()).await.unwrap();
    let (good, said, fault) = run(&["rotate"]);
    assert!(good && said.contains("signs from now on (key set 2)"), "{said} {fault}");
    let (good, said, _) = run(&["list"]);
    assert!(good && said.contains("Key set 2") && said.contains(key_file::NAME), "{said}");
    let private = std::fs::read_to_string(folder.path().join(key_file::NAME)).unwrap();
    assert!(
        private.lines().all(|line| line.starts_with("-----") || !said.contains(line)),
        "only public keys are shown"
    );
    app.stop().await;
}
