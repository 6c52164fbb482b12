//! Review: what waits for a reviewer, what may be decided, what deleting comes to.

use std::time::Duration;

use addon_client::Verdict;
use marketplace::domain::verification::Mode;
use reqwest::Method;
use serde_json::json;

use crate::market::{ADDONS, Market, document, eventually};
use crate::registry::{Registry, error};

fn manual(registry: &Registry) -> impl FnOnce(&mut marketplace::config::Config) + '_ {
    |config| {
        registry.allow(config);
        config.review.mode = Mode::Manual;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_manual_mode_a_green_release_waits_for_a_reviewer() {
    let registry = Registry::start().await;
    let pushed = registry.push("a", "1").await;
    let market = Market::start(manual(&registry)).await;
    let id = market.published(&document("probe", &pushed.image)).await;
    market.until_report(&id, "a green report", |report| report.verdict == Verdict::Pass).await;
    let waiting = market.release(&id).await;
    assert_eq!(waiting["status"], "under_review");
    assert!(waiting["reason"].as_str().unwrap().contains("manual"), "{waiting}");
    assert_eq!(waiting["pins"][0]["digest"], pushed.digest.to_string());
    let queue = market.get_as_admin(&format!("{ADDONS}?status=under_review")).await.expect(200).json();
    assert!(
        queue[0]["waiting_since"].as_str().unwrap() >= queue[0]["created_at"].as_str().unwrap(),
        "{queue}"
    );

    let other = addon_descriptor::Digest::of(b"other").to_string();
    market.act(&id, "approve", &json!({"digest": other})).await.problem(409, "digest-mismatch");
    market.act(&id, "approve", &json!({"because": "x"})).await.problem(422, "invalid-body");
    let digest = waiting["digest"].clone();
    let body = json!({"digest": digest, "reason": "looks good"});
    let approved = market.act(&id, "approve", &body).await.expect(200).json();
    assert_eq!((&approved["status"], &approved["reason"]), (&json!("approved"), &json!("looks good")));
    assert!(approved["approved_at"].is_string());
    assert_eq!(market.get(ADDONS).await.json()[0]["_id"], id);
    market.act(&id, "approve", &json!({})).await.problem(409, "wrong-status");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_dangerous_rights_are_held_until_a_reviewer_says_yes() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let mut document = document("probe", &image);
    document["services"][0]["privileged"] = true.into();
    let id = market.published(&document).await;
    let held = eventually("it is held", || async {
        let release = market.release(&id).await;
        release.get("held").is_some().then_some(release)
    })
    .await;
    assert_eq!((&held["status"], &held["held"]), (&json!("under_review"), &json!(["privileged"])));
    assert!(held["reason"].as_str().unwrap().contains("privileged"));
    assert_eq!(market.report(&id).await.held, ["privileged"]);
    let approved = market.act(&id, "approve", &json!({})).await.expect(200).json();
    assert_eq!(approved.get("held"), None);

    document["description"] = "the same rights again".into();
    market.approved(&document).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_red_or_open_is_not_approved() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let red = market.published(&document("red", &registry.image("missing:1"))).await;
    market.until(&red, "verification_failed").await;
    market.act(&red, "approve", &json!({})).await.problem(409, "wrong-status");

    let away = registry.switch(error(500, "UNKNOWN")).await;
    let open = market.published(&document("open", &registry.image("a:1"))).await;
    market.until_report(&open, "no answer", |report| report.verdict == Verdict::NoAnswer).await;
    let problem = market.act(&open, "approve", &json!({})).await.problem(409, "checks-not-green");
    assert!(problem["detail"].as_str().unwrap().contains("open"), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("under_review cannot be approved"), "{problem}");
    let never = json!({"reason": "never answers"});
    let problem = market.act(&open, "reject", &never).await.problem(409, "checks-not-green");
    assert!(problem["detail"].as_str().unwrap().contains("under_review cannot be rejected"), "{problem}");
    market.act(&open, "reverify", &json!({})).await.expect(200);
    assert_eq!(market.report(&open).await.status, addon_client::ReleaseStatus::UnderReview);
    market.delete(&open).await.expect(204);
    away.off();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_says_why() {
    let registry = Registry::start().await;
    let market = Market::start(manual(&registry)).await;
    let id = market.published(&document("probe", &registry.push("a", "1").await.image)).await;
    market.until_report(&id, "green", |report| report.verdict == Verdict::Pass).await;
    for body in [json!({}), json!({"reason": "  "})] {
        market.act(&id, "reject", &body).await.problem(422, "reason-required");
    }
    market.act(&id, "reject", &json!({"reason": "x".repeat(1001)})).await.problem(422, "invalid-body");
    market.act(&id, "reject", &json!({"reason": "spam"})).await.expect(200);
    market.publish(&document("probe", &registry.image("a:1"))).await.expect(200);
    assert_eq!(market.release(&id).await["status"], "rejected", "posting it again changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_approves_their_own_where_another_could() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::start(manual(&registry)).await;
    let paul = market.token("paul", &["publish", "review"], None).await;
    let body = Some(serde_json::to_vec(&document("probe", &image)).unwrap());
    let id = market.send(Method::POST, ADDONS, Some(&paul), body).await.expect(201).json();
    let id = id["_id"].as_str().unwrap().to_owned();
    market.until_report(&id, "a green report", |report| report.verdict == Verdict::Pass).await;
    let approve = format!("{ADDONS}/{id}/approve");
    market.send(Method::POST, &approve, Some(&paul), None).await.problem(403, "own-release");
    let publisher = market.token("mallory", &["publish"], None).await;
    market.send(Method::POST, &approve, Some(&publisher), None).await.problem(403, "missing-scope");
    market.send(Method::POST, &approve, None, None).await.problem(401, "unauthorized");
    let rita = market.token("rita", &["review"], None).await;
    market.send(Method::POST, &approve, Some(&rita), None).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_alone_may_approve_their_own() {
    let registry = Registry::start().await;
    let market = Market::start(manual(&registry)).await;
    let id = market.published(&document("probe", &registry.push("a", "1").await.image)).await;
    market.until_report(&id, "a green report", |report| report.verdict == Verdict::Pass).await;
    market.act(&id, "approve", &json!({})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_approvals_at_once_are_one() {
    let registry = Registry::start().await;
    let market = Market::start(manual(&registry)).await;
    let id = market.published(&document("probe", &registry.push("a", "1").await.image)).await;
    market.until_report(&id, "a green report", |report| report.verdict == Verdict::Pass).await;
    let body = json!({});
    let answers = futures_util::future::join_all((0..8).map(|_| market.act(&id, "approve", &body))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)));
}

/// Every status that can be reached, and every call on it.
#[tokio::test(flavor = "multi_thread")]
async fn each_call_on_each_status_does_what_the_table_says() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let (market, clock) = Market::start_with_clock(manual(&registry)).await;
    let green = async |name: &str| {
        let id = market.published(&document(name, &image)).await;
        market.until_report(&id, "a green report", |report| report.verdict == Verdict::Pass).await;
        id
    };
    let reason = json!({"reason": "because"});
    for (status, approve, reject, reverify) in [
        ("under_review", 200, 200, 409),
        ("approved", 409, 409, 200),
        ("rejected", 409, 409, 409),
        ("verification_failed", 409, 409, 200),
        ("yanked", 409, 409, 409),
    ] {
        for (action, expected) in [("approve", approve), ("reject", reject), ("reverify", reverify)] {
            let name = format!("{}-{action}", status.replace('_', "-"));
            let id = match status {
                "verification_failed" => {
                    let id = market.published(&document(&name, &registry.image("missing:1"))).await;
                    market.until(&id, status).await;
                    id
                }
                _ => green(&name).await,
            };
            match status {
                "approved" => _ = market.act(&id, "approve", &reason).await.expect(200),
                "rejected" => _ = market.act(&id, "reject", &reason).await.expect(200),
                "yanked" => {
                    market.act(&id, "approve", &reason).await.expect(200);
                    clock.advance(Duration::from_secs(73 * 3600));
                    market.delete(&id).await.expect(204);
                }
                _ => (),
            }
            assert_eq!(market.release(&id).await["status"], status);
            let answer = market.act(&id, action, &reason).await;
            assert_eq!(answer.status, expected, "{status} {action}: {}", answer.text);
            if expected == 409 {
                let problem = answer.problem(409, "wrong-status");
                assert!(problem["detail"].as_str().unwrap().contains(status), "{problem}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_long_ago_is_yanked_instead_of_deleted() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let (market, clock) = Market::start_with_clock(|config| registry.allow(config)).await;
    let fresh = market.approved(&document("fresh", &image)).await["_id"].as_str().unwrap().to_owned();
    let old = market.approved(&document("old", &image)).await["_id"].as_str().unwrap().to_owned();
    clock.advance(Duration::from_secs(72 * 3600));
    market.delete(&fresh).await.expect(204);
    market.get(&format!("{ADDONS}/{fresh}")).await.problem(404, "not-found");
    clock.advance(Duration::from_millis(1));
    for _ in 0..2 {
        market.delete(&old).await.expect(204);
        let yanked = market.release(&old).await;
        assert_eq!(yanked["status"], "yanked");
        assert!(yanked["reason"].as_str().unwrap().contains("admin"), "{yanked}");
    }
    assert_eq!(market.get(ADDONS).await.text, "[]");
    market.get("/api/v1/marketplace/by-name/old").await.problem(404, "not-found");
    market.get("/api/v1/marketplace/by-name/old/0.1.0").await.problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_releases_images_can_be_looked_for_again() {
    let registry = Registry::start().await;
    let pushed = registry.push("a", "1").await;
    let market = Market::beside(&registry).await;
    let id = market.approved(&document("probe", &pushed.image)).await["_id"].as_str().unwrap().to_owned();
    let gone = registry.switch(error(404, "MANIFEST_UNKNOWN")).await;
    market.act(&id, "reverify", &json!({})).await.expect(200);
    let missing = eventually("the image is missing", || async {
        let release = market.release(&id).await;
        release.get("image_missing_since").is_some().then_some(release)
    })
    .await;
    assert_eq!(missing["status"], "approved");
    assert_eq!(market.report(&id).await.verdict, Verdict::Fail, "the report says what is gone");
    gone.off();
    market.act(&id, "reverify", &json!({})).await.expect(200);
    eventually("the image is back", || async {
        let release = market.release(&id).await;
        release.get("image_missing_since").is_none().then_some(())
    })
    .await;
    assert_eq!(market.report(&id).await.verdict, Verdict::Pass);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_no_stale_answer() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(market.published(&document(&format!("probe-{n}"), &image)).await);
    }
    let address = market.app().running().address();
    for (n, id) in ids.iter().enumerate() {
        market.until(id, "approved").await;
        let path = format!("{ADDONS}/{id}");
        market.get(&path).await.expect(200);
        let head = format!(
            "DELETE {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\r\n",
            market.admin()
        );
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut connection, head.as_bytes()).await.unwrap();
        // Anywhere in the middle of the change.
        for _ in 0..n * 20 {
            tokio::task::yield_now().await;
        }
        drop(connection);
    }
    for id in &ids {
        eventually("database and answer agree", || async {
            let there = market.app().storage().release(id.parse().unwrap()).await.unwrap().is_some();
            let answer = market.get(&format!("{ADDONS}/{id}")).await;
            (answer.status == if there { 200 } else { 404 }).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_some_names_reviews_no_others() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::start(manual(&registry)).await;
    let token = market.token("pat", &["review"], Some("mqtt-*")).await;
    for (name, status) in [("other", 403), ("mqtt-broker", 200)] {
        let id = market.published(&document(name, &image)).await;
        market.until_report(&id, "green", |report| report.verdict == Verdict::Pass).await;
        let path = |action: &str| format!("{ADDONS}/{id}/{action}");
        let body = || Some(br#"{"reason": "no"}"#.to_vec());
        if status == 403 {
            for action in ["approve", "reject", "reverify"] {
                market.send(Method::POST, &path(action), Some(&token), body()).await.expect(403);
            }
            assert_eq!(market.release(&id).await["status"], "under_review");
        } else {
            market.send(Method::POST, &path("reject"), Some(&token), body()).await.expect(200);
        }
    }
}
