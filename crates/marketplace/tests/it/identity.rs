//! Accounts: what is written down of them, whose a name is, how much they may do at once; and yanking, which is theirs.

use std::time::Duration;

use addon_client::{AuditEntry, AuditReport, ReleaseDiff, Verdict};
use marketplace::config::BucketConfig;
use marketplace::domain::verification::Mode;
use reqwest::Method;
use serde_json::{Value, json};

use crate::market::{ADDONS, Answer, Market, document, eventually};
use crate::registry::Registry;

async fn send(market: &Market, method: Method, path: &str, token: &str, body: Option<&Value>) -> Answer {
    let body = body.map(|body| serde_json::to_vec(body).unwrap());
    market.send(method, path, Some(token), body).await
}

async fn post(market: &Market, path: &str, token: &str, body: &Value) -> Answer {
    send(market, Method::POST, path, token, Some(body)).await
}

async fn published(market: &Market, token: &str, document: &Value) -> String {
    let release = post(market, ADDONS, token, document).await.expect(201).json();
    release["_id"].as_str().unwrap().to_owned()
}

async fn log(market: &Market, query: &str) -> Vec<AuditEntry> {
    let answer = market.get_as_admin(&format!("/api/v1/audit{query}")).await.expect(200);
    serde_json::from_str(&answer.text).unwrap()
}

const OWNERS: &str = "/api/v1/marketplace/by-name/probe/owners";

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_is_in_the_log_and_chained_within_a_second() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let paul = market.token("paul", &["publish"], None).await;
    let id = published(&market, &paul, &document("probe", &image)).await;
    market.until(&id, "approved").await;
    let path = format!("{ADDONS}/{id}/yank");
    post(&market, &path, &paul, &json!({"reason": "loses data"})).await.expect(200);
    let request = market.request(Method::DELETE, &format!("{ADDONS}/{id}"));
    let request = request.bearer_auth(&paul).header("x-request-id", "mine-1");
    market.finish(request).await.expect(204);

    let rows = log(&market, "?account=paul").await;
    let actions: Vec<&str> = rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["release.delete", "release.yank", "release.publish"]);
    assert_eq!(rows[0].request_id.as_deref(), Some("mine-1"));
    assert_eq!(rows[1].reason.as_deref(), Some("loses data"));
    assert_eq!((rows[1].subject.kind.as_str(), rows[1].subject.id.as_str()), ("release", id.as_str()));
    assert!(rows.iter().all(|row| paul.contains(row.token_id.as_deref().unwrap())), "{rows:?}");
    let of_token = log(&market, &format!("?subject={}", rows[0].token_id.as_deref().unwrap())).await;
    assert_eq!((of_token[0].action.as_str(), of_token[0].account.as_str()), ("token.create", "admin"));
    assert_eq!(log(&market, "?action=account.create").await[0].subject.id, "paul");
    assert_eq!(log(&market, "?action=token.create&account=the+service").await.len(), 1, "the first token");
    assert!(!format!("{rows:?}").contains(&paul), "a token is in no log");

    let first = market.get_as_admin("/api/v1/audit?limit=2").await.expect(200);
    let link = first.header("link").to_owned();
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let rest: Vec<AuditEntry> =
        serde_json::from_str(&market.get_as_admin(next).await.expect(200).text).unwrap();
    assert!(rest[0].seq < rows[1].seq && !rest.is_empty());
    market.get_as_admin("/api/v1/audit?limit=0").await.problem(400, "bad-query");
    market.get_as_admin("/api/v1/audit?acount=paul").await.expect(400);
    assert!(log(&market, "?since=2999-01-01T00:00:00Z").await.is_empty());
    send(&market, Method::GET, "/api/v1/audit", &paul, None).await.problem(403, "missing-scope");
    let limited = market.token("ops", &["admin"], Some("mqtt-*")).await;
    send(&market, Method::GET, "/api/v1/audit", &limited, None).await.problem(403, "name-not-allowed");

    let report = eventually("every row is chained", || async {
        let text = market.get_as_admin("/api/v1/audit/verify").await.expect(200).text;
        let report: AuditReport = serde_json::from_str(&text).unwrap();
        report.not_chained.is_empty().then_some(report)
    })
    .await;
    assert!(report.intact && report.checked >= 6, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_its_first_publishers_and_of_those_who_are_invited() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let paul = market.token("paul", &["publish"], None).await;
    let mary = market.token("mary", &["publish"], None).await;
    let id = published(&market, &paul, &document("probe", &image)).await;
    market.until(&id, "approved").await;
    let mut next = document("probe", &image);
    next["description"] = "hers".into();
    let refused = post(&market, ADDONS, &mary, &next).await.problem(403, "not-owner");
    assert!(refused["detail"].as_str().unwrap().contains("/by-name/probe/owners"), "{refused}");
    for (method, path) in
        [(Method::DELETE, format!("{ADDONS}/{id}")), (Method::POST, format!("{ADDONS}/{id}/yank"))]
    {
        send(&market, method, &path, &mary, None).await.problem(403, "not-owner");
    }
    send(&market, Method::GET, &format!("{ADDONS}/{id}/verification"), &mary, None).await.expect(403);

    assert_eq!(market.get(OWNERS).await.expect(200).json()["owners"][0]["account"], "paul");
    market.get("/api/v1/marketplace/by-name/none/owners").await.problem(404, "not-found");
    post(&market, OWNERS, &mary, &json!({"account": "mary"})).await.problem(403, "not-owner");
    post(&market, OWNERS, &paul, &json!({"account": "-"})).await.problem(422, "invalid-body");
    post(&market, OWNERS, &paul, &json!({"account": "paul"})).await.problem(409, "already-owner");
    let invited = post(&market, OWNERS, &paul, &json!({"account": "mary"})).await.expect(201).json();
    assert_eq!(invited["invitations"][0]["account"], "mary");
    let nobody = post(&market, OWNERS, &paul, &json!({"account": "not-there"})).await.expect(201).json();
    assert_eq!(nobody["invitations"][1]["account"], "not-there", "whether there is one is not told");
    assert_eq!(market.get(OWNERS).await.json().get("invitations"), None, "that is for owners");

    let invitations = "/api/v1/marketplace/invitations";
    let hers = send(&market, Method::GET, invitations, &mary, None).await.expect(200).json();
    assert_eq!((&hers[0]["name"], &hers[0]["invited_by"]), (&json!("probe"), &json!("paul")));
    let accept = format!("{invitations}/probe/accept");
    let elsewhere = market.token("mary", &["publish"], Some("other-*")).await;
    send(&market, Method::POST, &accept, &elsewhere, None).await.problem(403, "name-not-allowed");
    send(&market, Method::POST, &accept, &paul, None).await.problem(404, "not-found");
    let owners = send(&market, Method::POST, &accept, &mary, None).await.expect(200).json();
    assert_eq!(owners["owners"].as_array().unwrap().len(), 2);
    let hidden = published(&market, &mary, &next).await;
    for status in ["under_review", "approved"] {
        market.until(&hidden, "approved").await;
        send(&market, Method::GET, &format!("{ADDONS}?status={status}"), &paul, None).await.expect(200);
    }

    send(&market, Method::DELETE, &format!("{OWNERS}/paul"), &mary, None).await.expect(204);
    send(&market, Method::DELETE, &format!("{OWNERS}/mary"), &mary, None).await.problem(409, "last-owner");
    send(&market, Method::DELETE, &format!("{OWNERS}/zoe"), &mary, None).await.problem(404, "not-found");
    market.publish(&next).await.expect(200);
    send(&market, Method::DELETE, &format!("{OWNERS}/mary"), market.admin(), None).await.expect(204);
    post(&market, ADDONS, &mary, &next).await.problem(403, "not-owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_see_what_is_not_listed_and_a_deleted_name_stays_theirs() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let paul = market.token("paul", &["publish"], None).await;
    let mary = market.token("mary", &["publish"], None).await;
    let id = published(&market, &paul, &document("probe", &registry.image("missing:1"))).await;
    market.until(&id, "verification_failed").await;
    let failed = format!("{ADDONS}?status=verification_failed");
    assert_eq!(send(&market, Method::GET, &failed, &paul, None).await.json()[0]["_id"], id);
    assert_eq!(send(&market, Method::GET, &failed, &mary, None).await.json(), json!([]));
    // Whoever cannot see the addon is not told whose it is.
    market.get(OWNERS).await.problem(404, "not-found");
    post(&market, OWNERS, &mary, &json!({"account": "mary"})).await.problem(404, "not-found");
    send(&market, Method::GET, OWNERS, &paul, None).await.expect(200);
    send(&market, Method::DELETE, &format!("{ADDONS}/{id}"), &paul, None).await.expect(204);
    post(&market, ADDONS, &mary, &document("probe", "r.example/a:1")).await.problem(403, "not-owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_may_say_why() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let (market, clock) = Market::start_with_clock(|config| registry.allow(config)).await;
    let (paul, mary) =
        (market.token("paul", &["publish"], None).await, market.token("mary", &["publish"], None).await);
    let version = |version: &str| {
        let mut document = document("probe", &image);
        document["version"] = version.into();
        document
    };
    let mut ids = Vec::new();
    for number in ["1.0.0", "2.0.0", "3.0.0", "4.0.0"] {
        let id = published(&market, &paul, &version(number)).await;
        market.until(&id, "approved").await;
        ids.push(format!("{ADDONS}/{id}"));
    }
    let delete = async |path: String| send(&market, Method::DELETE, &path, &paul, None).await;
    delete(format!("{}?reason=leaks+%C3%B1", ids[0])).await.expect(204);
    delete(ids[1].clone()).await.expect(204);
    // Who relies on a release reads why it is gone.
    clock.advance(Duration::from_secs(72 * 60 * 60 + 1));
    delete(format!("{}?reason={}", ids[2], "x".repeat(1001))).await.problem(400, "bad-query");
    delete(format!("{}?reason=%00", ids[2])).await.problem(400, "bad-query");
    delete(format!("{}?raeson=old", ids[2])).await.problem(400, "bad-query");
    assert_eq!(market.get(&ids[2]).await.json()["status"], "approved");
    delete(format!("{}?reason=superseded", ids[2])).await.expect(204);
    delete(format!("{}?reason=++", ids[3])).await.expect(204);
    for (id, reason) in [(&ids[2], "superseded"), (&ids[3], "withdrawn by paul")] {
        let yanked = market.get(id).await.json();
        assert_eq!((&yanked["status"], &yanked["reason"]), (&json!("yanked"), &json!(reason)));
    }
    for account in ["mary", "zoe"] {
        post(&market, OWNERS, &paul, &json!({"account": account})).await.expect(201);
    }
    let accept = "/api/v1/marketplace/invitations/probe/accept";
    send(&market, Method::POST, accept, &mary, None).await.expect(200);
    delete(format!("{OWNERS}/mary?reason=%1B")).await.problem(400, "bad-query");
    delete(format!("{OWNERS}/mary?reason=left")).await.expect(204);
    delete(format!("{OWNERS}/zoe?reason=wrong+one")).await.expect(204);

    let rows = log(&market, "?account=paul").await;
    let reasons: Vec<_> = rows
        .iter()
        .filter(|row| !matches!(row.action.as_str(), "owner.invite" | "release.publish"))
        .map(|row| (row.action.as_str(), row.reason.as_deref()))
        .collect();
    let expected = [
        ("owner.withdraw", Some("wrong one")),
        ("owner.remove", Some("left")),
        ("release.yank", Some("withdrawn by paul")),
        ("release.yank", Some("superseded")),
        ("release.delete", None),
        ("release.delete", Some("leaks \u{f1}")),
    ];
    assert_eq!(reasons, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yanked_release_is_in_no_list_until_it_is_unyanked() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let old = market.approved(&document("probe", &registry.push("a", "1").await.image)).await;
    let mut document = document("probe", &registry.push("a", "2").await.image);
    document["description"] = "newer".into();
    let new = market.approved(&document).await;
    let id = new["_id"].as_str().unwrap();
    let listed = async || market.get(ADDONS).await.json()[0]["_id"].clone();
    assert_eq!(listed().await, new["_id"]);
    market.act(id, "yank", &json!({})).await.problem(422, "reason-required");
    let other = addon_descriptor::Digest::of(b"other").to_string();
    market.act(id, "yank", &json!({"reason": "x", "digest": other})).await.problem(409, "digest-mismatch");
    let yanked = market.act(id, "yank", &json!({"reason": "loses data"})).await.expect(200).json();
    assert_eq!((&yanked["status"], &yanked["reason"]), (&json!("yanked"), &json!("loses data")));
    assert_eq!(market.release(id).await["reason"], "loses data", "it is served to those who have it");
    assert_eq!(listed().await, old["_id"]);
    let resolved = market.get("/api/v1/marketplace/by-name/probe?version=*").await.expect(200).json();
    assert_eq!(resolved["_id"], old["_id"]);
    market.act(id, "yank", &json!({"reason": "twice"})).await.problem(409, "wrong-status");
    let back = market.act(id, "unyank", &json!({})).await.expect(200).json();
    assert_eq!((&back["status"], back.get("reason")), (&json!("approved"), None));
    assert_eq!(listed().await, new["_id"]);
    market.act(id, "unyank", &json!({})).await.problem(409, "wrong-status");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_takes_back_an_owners_yank_and_not_an_administrators() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let paul = market.token("paul", &["publish"], None).await;
    let id = published(&market, &paul, &document("probe", &image)).await;
    market.until(&id, "approved").await;
    let (yank, unyank) = (format!("{ADDONS}/{id}/yank"), format!("{ADDONS}/{id}/unyank"));
    let why = json!({"reason": "loses data"});
    post(&market, &yank, &paul, &why).await.expect(200);
    post(&market, &unyank, &paul, &json!({})).await.expect(200);

    market.act(&id, "yank", &why).await.expect(200);
    let refused = post(&market, &unyank, &paul, &json!({})).await.problem(403, "yanked-by-administrator");
    assert!(refused["detail"].as_str().unwrap().contains("ask an administrator"), "{refused}");
    // Deleted, it could be published again.
    let path = format!("{ADDONS}/{id}");
    send(&market, Method::DELETE, &path, &paul, None).await.problem(403, "yanked-by-administrator");
    let again = post(&market, ADDONS, &paul, &document("probe", &image)).await.expect(200).json();
    assert_eq!(again["status"], "yanked");
    assert!(
        log(&market, "?account=paul&action=release.unyank").await.len() == 1,
        "what was refused is in no log"
    );
    market.act(&id, "unyank", &json!({})).await.expect(200);
    assert_eq!(market.release(&id).await["status"], "approved");

    // Whoever owns and administers yanks as an owner; an administrator takes back what an owner did.
    let own = market.published(&document("own", &image)).await;
    market.until(&own, "approved").await;
    market.act(&own, "yank", &why).await.expect(200);
    post(&market, "/api/v1/marketplace/by-name/own/owners", market.admin(), &json!({"account": "paul"}))
        .await
        .expect(201);
    send(&market, Method::POST, "/api/v1/marketplace/invitations/own/accept", &paul, None).await.expect(200);
    post(&market, &format!("{ADDONS}/{own}/unyank"), &paul, &json!({})).await.expect(200);
    post(&market, &yank, &paul, &why).await.expect(200);
    market.act(&id, "unyank", &json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewer_sees_what_a_release_changes() {
    let registry = Registry::start().await;
    let market = Market::start(|config| {
        registry.allow(config);
        config.review.mode = Mode::Manual;
    })
    .await;
    let old = registry.push("a", "1").await;
    let first = market.published(&document("probe", &old.image)).await;
    let diff = async |id: &str| -> ReleaseDiff {
        let answer = market.get_as_admin(&format!("{ADDONS}/{id}/diff")).await.expect(200);
        serde_json::from_str(&answer.text).unwrap()
    };
    let green = async |id: &str| {
        market.until_report(id, "green", |report| report.verdict == Verdict::Pass).await;
    };
    green(&first).await;
    let new = diff(&first).await;
    assert_eq!(new.base, None);
    assert!(new.fields.iter().any(|field| field.path == "/name" && field.before.is_none()), "{new:?}");
    market.act(&first, "approve", &json!({})).await.expect(200);

    let mut next = document("probe", &registry.push("a", "2").await.image);
    next["services"][0]["privileged"] = true.into();
    next["changes"] = json!([{"kind": "added", "text": "sees everything"}]);
    let second = market.published(&next).await;
    green(&second).await;
    let found = diff(&second).await;
    assert_eq!(found.base.as_ref().unwrap().release_id.to_string(), first);
    let field = |path: &str| found.fields.iter().find(|field| field.path == path);
    assert_eq!(field("/services/0/privileged").unwrap().after, Some(json!(true)));
    assert_eq!(field("/services/0/image").unwrap().before, Some(json!(old.image)));
    assert!(field("/name").is_none());
    assert!(found.rights_added.iter().any(|right| right.right == "privileged"), "{found:?}");
    assert_eq!(found.rights_removed, []);
    let image = &found.images[0];
    assert_eq!(image.service_name, "a");
    assert_eq!(image.before.as_ref().unwrap().digest.unwrap(), old.digest);
    assert!(image.after.as_ref().unwrap().bytes.is_some());
    assert_eq!(found.changes[0]["text"], "sees everything");
    let stranger = market.token("sam", &["publish"], None).await;
    send(&market, Method::GET, &format!("{ADDONS}/{second}/diff"), &stranger, None).await.expect(403);
    market.get_as_admin(&format!("{ADDONS}/6b00fc9223516c5e37bee27c/diff")).await.problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_too_much_at_once_waits_but_for_administrators() {
    let registry = Registry::start().await;
    let (market, clock) = Market::start_with_clock(|config| {
        registry.allow(config);
        config.limits.new_names = BucketConfig { burst: 2, interval_ms: 600_000 };
        config.limits.new_versions = BucketConfig { burst: 1, interval_ms: 60_000 };
        config.limits.withdrawals = BucketConfig { burst: 1, interval_ms: 60_000 };
        config.limits.invitations = BucketConfig { burst: 1, interval_ms: 60_000 };
    })
    .await;
    let image = registry.push("a", "1").await.image;
    let paul = market.token("paul", &["publish"], None).await;
    let first = published(&market, &paul, &document("a", &image)).await;
    let second = published(&market, &paul, &document("b", &image)).await;
    let answer = post(&market, ADDONS, &paul, &document("c", &image)).await;
    assert_eq!(answer.header("retry-after"), "600");
    answer.problem(429, "too-many-requests");
    post(&market, ADDONS, &paul, &document("a", &image)).await.expect(200);
    market.publish(&document("c", &image)).await.expect(201);
    let mut next = document("a", &image);
    for (n, status) in [(1, 201), (2, 429)] {
        next["description"] = n.to_string().into();
        post(&market, ADDONS, &paul, &next).await.expect(status);
    }
    clock.advance(Duration::from_secs(60));
    post(&market, ADDONS, &paul, &next).await.expect(201);

    market.until(&first, "approved").await;
    let reason = json!({"reason": "x"});
    post(&market, &format!("{ADDONS}/{first}/yank"), &paul, &reason).await.expect(200);
    let unyank = format!("{ADDONS}/{first}/unyank");
    assert_eq!(post(&market, &unyank, &paul, &reason).await.expect(429).header("retry-after"), "60");
    send(&market, Method::DELETE, &format!("{ADDONS}/{second}"), &paul, None).await.expect(429);
    market.act(&first, "unyank", &reason).await.expect(200);
    let owners = "/api/v1/marketplace/by-name/a/owners";
    post(&market, owners, &paul, &json!({"account": "mary"})).await.expect(201);
    post(&market, owners, &paul, &json!({"account": "zoe"})).await.problem(429, "too-many-requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_tokens_is_slowed_down_and_locks_nobody_out() {
    let market = Market::start(|config| config.auth.wrong_tokens.burst = 10).await;
    let path = "/api/v1/tokens";
    let mut counts = (0, 0);
    for n in 0..200 {
        let answer = send(&market, Method::GET, path, &format!("oakm_{n:040}"), None).await;
        match answer.status {
            401 => counts.0 += 1,
            429 => {
                counts.1 += 1;
                assert!(!answer.header("retry-after").is_empty());
                answer.problem(429, "too-many-wrong-tokens");
            }
            other => panic!("{other}: {}", answer.text),
        }
    }
    // One comes back a second, and this takes a few.
    assert!(counts.0 >= 10 && counts.1 > 100, "{counts:?}");
    market.get_as_admin(path).await.expect(200);
    market.get(ADDONS).await.expect(200);
}
