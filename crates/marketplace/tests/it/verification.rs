//! Verification: what registries say and do, and what is made of it.

use std::time::Duration;

use addon_client::{Check, Verdict, VerificationReport};
use addon_descriptor::Digest;
use marketplace::config::Config;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::json;
use service_kit::clock::{Clock as _, TestClock};
use service_kit::config::RegistrySettings;
use service_kit::db::Db;
use wiremock::ResponseTemplate;

use crate::market::{ADDONS, Market, document, eventually, insecure};
use crate::registry::{OCI_MANIFEST, Registry, config, error, manifest, served};

fn image_check(report: &VerificationReport) -> &Check {
    report.checks.iter().find(|check| check.check == "image-exists").unwrap()
}

/// Publishes an image that fails, and gives the reason.
async fn failed(market: &Market, image: &str) -> String {
    let id = market.published(&document("probe", image)).await;
    let release = market.until(&id, "verification_failed").await;
    let report = market.report(&id).await;
    assert_eq!((report.verdict, report.next_attempt_at), (Verdict::Fail, None));
    assert_eq!(market.get(ADDONS).await.text, "[]");
    release["reason"].as_str().unwrap().to_owned()
}

/// Publishes an image about which there is no answer yet, and gives the report.
async fn unanswered(market: &Market, image: &str) -> (String, VerificationReport) {
    let id = market.published(&document("probe", image)).await;
    let report = market.until_report(&id, "no answer", |report| report.verdict == Verdict::NoAnswer).await;
    let release = market.release(&id).await;
    assert_eq!(release["status"], "under_review");
    let reason = release["reason"].as_str().unwrap();
    assert!(reason.contains("gives no answer") && reason.contains("; tried again at 2"), "{reason}");
    assert!(report.next_attempt_at.is_some() && report.checked_at.is_some());
    let check = image_check(&report);
    assert_eq!(check.verdict, Verdict::NoAnswer);
    assert!(check.next_attempt_at.is_some(), "{check:?}");
    (id, report)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_pinned_with_its_platforms() {
    let registry = Registry::start().await;
    let pushed = registry.push_index("a", "1", &["amd64", "arm64"]).await;
    let market = Market::beside(&registry).await;
    let release = market.approved(&document("probe", &pushed.image)).await;
    let pin = &release["pins"][0];
    assert_eq!(pin["service_name"], "a");
    assert_eq!(pin["image"], pushed.image);
    assert_eq!(pin["digest"], pushed.digest.to_string());
    assert_eq!(pin["platforms"], json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(pin["bytes"], 1001 + config("arm64").len() as u64);
    let manifests = pin["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), 2, "the attestation is no platform");
    assert_eq!(manifests[0]["digest"], Digest::of(&manifest("amd64", 1000)).to_string());
    assert_eq!(manifests[0]["config"], Digest::of(&config("amd64")).to_string());
    let report = market.report(release["_id"].as_str().unwrap()).await;
    assert_eq!((report.verdict, report.attempts), (Verdict::Pass, 1));
    assert_eq!(image_check(&report).evidence["digest"], pushed.digest.to_string());
    assert!(report.checks.iter().any(|check| check.check == "rights-known"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_manifest_is_pinned_with_its_configurations_platform() {
    let registry = Registry::start().await;
    let pushed = registry.push("deep/er/a", "v1").await;
    let market = Market::beside(&registry).await;
    let release = market.approved(&document("probe", &pushed.image)).await;
    assert_eq!(release["pins"][0]["digest"], pushed.digest.to_string());
    assert_eq!(release["pins"][0]["platforms"], json!(["linux/amd64"]));
    let by_digest = registry.image(&format!("deep/er/a@{}", pushed.digest));
    market.approved(&document("by-digest", &by_digest)).await;
    let asked = registry.requests().await;
    let accept = asked.iter().find(|request| request.url.path().contains("manifests")).unwrap();
    let accept = accept.headers["accept"].to_str().unwrap();
    for kind in ["oci.image.index", "oci.image.manifest", "manifest.list.v2", "distribution.manifest.v2"] {
        assert!(accept.contains(kind), "{accept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_image_is_asked_for_once_and_every_image_must_be_there() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let service = |name: &str, image: &str| json!({"service_name": name, "image": image});
    let both = json!({"name": "both", "services": [service("a", &image), service("b", &image)]});
    assert_eq!(market.approved(&both).await["pins"].as_array().unwrap().len(), 2);
    let tags = registry.requests().await.iter().filter(|request| request.url.path().ends_with("/1")).count();
    assert_eq!(tags, 1);
    let missing = registry.image("missing:1");
    let one = json!({"name": "one", "services": [service("a", &image), service("b", &missing)]});
    let id = market.published(&one).await;
    let reason = market.until(&id, "verification_failed").await["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(&missing) && !reason.contains(&image), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_platform_that_is_missing_fails() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let mut document = document("probe", &image);
    document["requires"] = json!({"platforms": ["linux/arm64"]});
    let id = market.published(&document).await;
    let release = market.until(&id, "verification_failed").await;
    assert!(release["reason"].as_str().unwrap().contains("linux/arm64"), "{release}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_exist_fails() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let reason = failed(&market, &registry.image("missing:1")).await;
    assert!(reason.contains("does not exist"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_in_trouble_is_asked_again_until_it_answers() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    registry.fail(ResponseTemplate::new(500), 3).await;
    let market = Market::beside(&registry).await;
    let release = market.approved(&document("probe", &image)).await;
    assert_eq!(market.report(release["_id"].as_str().unwrap()).await.attempts, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_shown_and_is_no_verdict() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    for answer in [
        ResponseTemplate::new(500),
        ResponseTemplate::new(503).set_body_string("<html>"),
        ResponseTemplate::new(404).set_body_string("404 page not found"),
        ResponseTemplate::new(403).set_body_string("<html>a firewall</html>"),
        ResponseTemplate::new(200).set_body_raw("<html>pay for the network here</html>", "text/html"),
        ResponseTemplate::new(200),
        ResponseTemplate::new(200).set_body_raw(&manifest("amd64", 1000)[..100], OCI_MANIFEST),
        ResponseTemplate::new(200).set_delay(Duration::from_secs(3)),
    ] {
        let away = registry.switch(answer).await;
        let mut document = document("probe", &image);
        document["description"] = Digest::of(&service_kit::random::bytes::<8>()).to_string().into();
        let id = market.published(&document).await;
        let report = market
            .until_report(&id, "two runs", |report| report.attempts >= 2 && !report.checks.is_empty())
            .await;
        assert_eq!(report.verdict, Verdict::NoAnswer, "{report:?}");
        away.off();
        market.until(&id, "approved").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrys_retry_after_is_waited_out() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    registry.fail(ResponseTemplate::new(429).insert_header("retry-after", "120"), 1).await;
    let (market, clock) = Market::start_with_clock(|config| registry.allow(config)).await;
    let (id, report) = unanswered(&market, &image).await;
    let wait = report.next_attempt_at.unwrap().since(report.checked_at.unwrap());
    assert_eq!(wait, Duration::from_secs(120));
    assert!(image_check(&report).message.contains("429"), "{report:?}");
    let asked = registry.requests().await.len();
    clock.advance(Duration::from_secs(119));
    let another = market.published(&document("another", &registry.image("missing:1"))).await;
    let told = market.until_report(&another, "no answer", |report| report.verdict == Verdict::NoAnswer).await;
    assert!(image_check(&told).message.contains("left alone for 1 s more"), "{told:?}");
    assert_eq!(registry.requests().await.len(), asked, "whatever else is asked of it waits too");
    assert_eq!(market.report(&id).await.attempts, 1);
    clock.advance(Duration::from_secs(1));
    market.published(&document("a-third", &registry.image("missing:1"))).await;
    let release = market.until(&id, "approved").await;
    assert_eq!(release.get("reason"), None, "there is a verdict");
    market.until(&another, "verification_failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_review_has_a_registry_asked_once_though_it_wants_to_be_left_alone() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let paused = || ResponseTemplate::new(429).insert_header("retry-after", "120");
    registry.fail(paused(), 2).await;
    let (market, _clock) = Market::start_with_clock(|config| registry.allow(config)).await;
    let paul = market.token("paul", &["publish"], None).await;
    let rita = market.token("rita", &["review"], None).await;
    let publish = async |name: &str| {
        let body = serde_json::to_vec(&document(name, &image)).unwrap();
        let answer = market.send(Method::POST, ADDONS, Some(&paul), Some(body)).await.expect(201).json();
        let id = answer["_id"].as_str().unwrap().to_owned();
        market.until_report(&id, "no answer", |report| report.verdict == Verdict::NoAnswer).await;
        id
    };
    let (id, another) = (publish("probe").await, publish("another").await);
    let reverify = async |token: &str| {
        market.send(Method::POST, &format!("{ADDONS}/{id}/reverify"), Some(token), None).await
    };
    let asked = async || registry.requests().await.len();
    assert_eq!(asked().await, 1);
    reverify(&paul).await.problem(409, "wrong-status");
    assert_eq!(asked().await, 1, "a publisher does not lift it");
    // It still wants to be left alone, and is from then on.
    let told = reverify(&rita).await.expect(200).json();
    assert_eq!(told["status"], "under_review");
    assert!(told["reason"].as_str().unwrap().starts_with("checked again at once"), "{told}");
    let again = |report: &VerificationReport| report.attempts == 2 && report.verdict == Verdict::NoAnswer;
    let report = market.until_report(&id, "it is asked again, and has no answer", again).await;
    assert!(image_check(&report).message.contains("429"), "{report:?}");
    let wait = report.next_attempt_at.unwrap().since(report.checked_at.unwrap());
    assert_eq!((wait, asked().await), (Duration::from_secs(120), 2));
    // Now it answers, and only who was asked for has a verdict.
    reverify(&rita).await.expect(200);
    market.until(&id, "approved").await;
    let asked_so_far = asked().await;
    assert!(asked_so_far > 2);
    assert_eq!(market.report(&another).await.attempts, 1);
    // The images of what is approved are looked for at once by her, and in time by its owner.
    reverify(&paul).await.expect(200);
    publish("a-third").await;
    assert_eq!(asked().await, asked_so_far, "the pause holds for all others");
    let row = market.get_as_admin("/api/v1/audit?action=release.reverify").await.expect(200).json();
    let at_once: Vec<_> = row.as_array().unwrap().iter().map(|row| &row["detail"]["at_once"]).collect();
    assert_eq!(at_once, [&serde_json::Value::Null, &json!(true), &json!(true)]);
    reverify(&rita).await.expect(200);
    eventually("it is asked at once", || async { (asked().await > asked_so_far).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_forget_that_a_registry_wants_to_be_left_alone() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    registry.fail(ResponseTemplate::new(503).insert_header("retry-after", "600"), 1).await;
    let (mut market, clock) = Market::start_with_clock(|config| registry.allow(config)).await;
    let (id, _) = unanswered(&market, &image).await;
    let asked = registry.requests().await.len();
    market.restart().await;
    clock.advance(Duration::from_secs(599));
    let another = market.published(&document("another", &image)).await;
    market.until_report(&another, "no answer", |report| report.verdict == Verdict::NoAnswer).await;
    assert_eq!(registry.requests().await.len(), asked);
    clock.advance(Duration::from_secs(1));
    market.published(&document("a-third", &image)).await;
    for id in [id, another] {
        market.until(&id, "approved").await;
    }
}

/// An image's configuration that says all that one can say.
fn telling(architecture: &str) -> serde_json::Value {
    json!({"os": "linux", "architecture": architecture, "created": "2026-01-02T03:04:05Z", "config": {
        "User": "app", "Entrypoint": ["/entry"], "Cmd": ["serve"], "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}}, "Labels": {"of": architecture}, "Healthcheck": {"Test": ["CMD", "/check"]},
    }})
}

fn warns_of_health(release: &serde_json::Value) -> bool {
    release["warnings"].as_array().is_some_and(|all| all.iter().any(|one| one["rule"] == "no-healthcheck"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_platforms_image_says_of_itself_is_in_the_report() {
    let registry = Registry::start().await;
    let parts = [("amd64", telling("amd64")), ("arm64", telling("arm64"))];
    let image = registry.push_configured("a", "1", &parts).await.image;
    let market = Market::beside(&registry).await;
    let id = market.published(&document("probe", &image)).await;
    let release = market.until(&id, "approved").await;
    assert!(!warns_of_health(&release), "the image has one: {release}");
    assert!(release["warnings"].to_string().contains("no-memory-limit"), "{release}");
    let report = market.report(&id).await;
    let images = image_check(&report).evidence["images"].as_array().unwrap().clone();
    assert_eq!(images.len(), 2);
    for (image, architecture) in images.iter().zip(["amd64", "arm64"]) {
        assert_eq!(image["platform"], format!("linux/{architecture}"));
        assert_eq!(image["labels"], json!({"of": architecture}));
        assert_eq!((&image["layers"], &image["user"]), (&json!(1), &json!("app")));
        assert_eq!((&image["entrypoint"], &image["command"]), (&json!(["/entry"]), &json!(["serve"])));
        assert_eq!((&image["exposed_ports"], &image["volumes"]), (&json!(["80/tcp"]), &json!(["/data"])));
        assert_eq!(image["healthcheck"], json!(["CMD", "/check"]));
        assert!(image["created"].as_str().unwrap().starts_with("2026-01-02T03:04:05"), "{image}");
    }
    let paths: Vec<String> =
        registry.requests().await.iter().map(|asked| asked.url.path().to_owned()).collect();
    assert!(
        paths.iter().filter(|path| path.contains("/blobs/")).count() == 2,
        "no layer is pulled: {paths:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_platform_without_healthcheck_keeps_the_warning() {
    let registry = Registry::start().await;
    let silent = json!({"os": "linux", "architecture": "arm64"});
    let image =
        registry.push_configured("a", "1", &[("amd64", telling("amd64")), ("arm64", silent)]).await.image;
    let market = Market::beside(&registry).await;
    assert!(warns_of_health(&market.approved(&document("probe", &image)).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_swaps_platforms_fails() {
    let registry = Registry::start().await;
    let image = registry.push_configured("a", "1", &[("amd64", telling("arm64"))]).await.image;
    let market = Market::beside(&registry).await;
    let reason = failed(&market, &image).await;
    assert!(reason.contains("for linux/amd64, and its configuration is for linux/arm64"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_digest_stands_for_is_asked_for_once_and_remembered_over_a_restart() {
    let registry = Registry::start().await;
    let pushed = registry.push_index("a", "1", &["amd64", "arm64"]).await;
    let mut market = Market::beside(&registry).await;
    let id = market.approved(&document("one", &pushed.image)).await["_id"].as_str().unwrap().to_owned();
    let asked = async || registry.requests().await.len();
    assert_eq!(asked().await, 5, "the index, two manifests, two configurations");
    market.restart().await;
    let other = market.approved(&document("two", &pushed.image)).await;
    assert_eq!(asked().await, 6, "that the image is there is always asked");
    assert_eq!(other["pins"][0]["manifests"], market.release(&id).await["pins"][0]["manifests"]);
    // Whether the images of an index are still there is asked when it is looked for them again.
    market.act(&id, "reverify", &json!({})).await.expect(200);
    eventually("they were asked for", || async { (asked().await == 9).then_some(()) }).await;
    let gone = Digest::of(&manifest("arm64", 1001));
    registry.serve(&format!("/v2/a/manifests/{gone}"), error(404, "MANIFEST_UNKNOWN"), 50).await;
    market.until_report(&id, "the first look is over", |report| report.next_attempt_at.is_none()).await;
    market.act(&id, "reverify", &json!({})).await.expect(200);
    eventually("a part is missing", || async {
        market.release(&id).await.get("image_missing_since").map(|_| ())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_repository_is_asked_itself() {
    let registry = Registry::start().await;
    let config = telling("amd64");
    registry.push_configured("mine", "1", &[("amd64", config.clone())]).await;
    let market = Market::beside(&registry).await;
    market.approved(&document("mine", &registry.image("mine:1"))).await;
    let theirs = registry.push_configured("theirs", "1", &[("amd64", config.clone())]).await.image;
    let blob = Digest::of(&serde_json::to_vec(&config).unwrap());
    registry.serve(&format!("/v2/theirs/blobs/{blob}"), error(404, "BLOB_UNKNOWN"), 50).await;
    let id = market.published(&document("theirs", &theirs)).await;
    let reason = market.until(&id, "verification_failed").await["reason"].to_string();
    assert!(reason.contains(&blob.to_string()), "{reason}");
}

/// A marketplace that looks for the images of approved releases every ten hours of the test's clock.
async fn looking_again(registry: &Registry) -> (Market, TestClock) {
    Market::start_with_clock(|config| {
        registry.allow(config);
        config.verification.recheck_hours = 10;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_approved_releases_are_looked_for_again_by_themselves() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let (market, clock) = looking_again(&registry).await;
    let id = market.approved(&document("probe", &image)).await["_id"].as_str().unwrap().to_owned();
    let gone = registry.switch(error(404, "MANIFEST_UNKNOWN")).await;
    // What is published wakes the worker, which then sees what time it is.
    let pass = async |n: u32, hours: u64| {
        clock.advance(Duration::from_secs(hours * 3600));
        let other = market.published(&document(&format!("other-{n}"), &registry.image("missing:1"))).await;
        market.until(&other, "verification_failed").await;
    };
    pass(0, 1).await;
    let asked = registry.requests().await.len();
    pass(1, 7).await;
    assert_eq!(registry.requests().await.len(), asked + 1, "it is not time");
    pass(2, 4).await;
    let missing = eventually("the image is missing", || async {
        let release = market.release(&id).await;
        release.get("image_missing_since").is_some().then_some(release)
    })
    .await;
    assert_eq!(missing["status"], "approved");
    gone.off();
    pass(3, 12).await;
    eventually("the image is back", || async {
        market.release(&id).await.get("image_missing_since").is_none().then_some(())
    })
    .await;
    assert_eq!(market.release(&id).await["status"], "approved");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_many_releases_is_looked_for_once() {
    let registry = Registry::start().await;
    let pushed = registry.push("a", "1").await;
    let (market, clock) = looking_again(&registry).await;
    let mut ids = Vec::new();
    for n in 0..12 {
        let release = market.approved(&document(&format!("probe-{n}"), &pushed.image)).await;
        ids.push(release["_id"].as_str().unwrap().to_owned());
    }
    let by_digest = format!("/v2/a/manifests/{}", pushed.digest);
    let asked =
        async || registry.requests().await.iter().filter(|request| request.url.path() == by_digest).count();
    let looked_at = async |n: u32, hours: u64, verdict: Verdict| {
        clock.advance(Duration::from_secs(hours * 3600));
        let begun = clock.now();
        let other = market.published(&document(&format!("other-{n}"), &registry.image("missing:1"))).await;
        market.until(&other, "verification_failed").await;
        for id in &ids {
            let done = |report: &VerificationReport| {
                report.checked_at.is_some_and(|at| at >= begun) && image_check(report).verdict == verdict
            };
            market.until_report(id, "its images were looked for", done).await;
        }
    };
    assert_eq!(asked().await, 0);
    looked_at(0, 12, Verdict::Pass).await;
    assert_eq!(asked().await, 1);
    let gone = registry.switch(error(404, "MANIFEST_UNKNOWN")).await;
    looked_at(1, 12, Verdict::Fail).await;
    assert_eq!(asked().await, 2);
    for id in &ids {
        assert!(market.release(id).await.get("image_missing_since").is_some());
    }
    // Who asks is told what is so now.
    gone.off();
    clock.advance(Duration::from_secs(1));
    market.act(&ids[0], "reverify", &json!({})).await.expect(200);
    let back = |report: &VerificationReport| image_check(report).verdict == Verdict::Pass;
    market.until_report(&ids[0], "it is back", back).await;
    assert_eq!(asked().await, 3);
    assert!(market.release(&ids[1]).await.get("image_missing_since").is_some(), "its time has not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_when_the_time_has_come_is_asked_again_soon() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let (market, clock) = looking_again(&registry).await;
    let id = market.approved(&document("probe", &image)).await["_id"].as_str().unwrap().to_owned();
    let before = market.release(&id).await;
    let looked_at = async |n: u32, hours: u64, verdict: Verdict| {
        clock.advance(Duration::from_secs(hours * 3600));
        // Wakes the worker, which then sees what time it is.
        market.published(&document(&format!("other-{n}"), "registry.invalid/none:1")).await;
        let done = |report: &VerificationReport| image_check(report).verdict == verdict;
        market.until_report(&id, "its images were looked for", done).await
    };
    let away = registry.switch(ResponseTemplate::new(500)).await;
    let report = looked_at(0, 12, Verdict::NoAnswer).await;
    assert_eq!((report.attempts, report.next_attempt_at), (1, None), "nothing piles up in the queue");
    assert_eq!(market.release(&id).await, before);
    away.off();
    looked_at(1, 2, Verdict::Pass).await;
    assert_eq!(market.release(&id).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_there_is_no_answer() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let market = Market::start(|config| _ = config.registries.insert(host.clone(), insecure())).await;
    let (id, report) = unanswered(&market, &format!("{host}/a:1")).await;
    let listed = market.get_as_admin(&format!("{ADDONS}?status=under_review")).await.json();
    assert_eq!(listed[0]["_id"], id);
    assert!(listed[0]["reason"].as_str().unwrap().contains("cannot be reached"), "{listed}");
    assert!(image_check(&report).message.contains("cannot be reached"), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_wrongly_fails() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let bytes = manifest("amd64", 10);
    let wrong =
        served(OCI_MANIFEST, &bytes).insert_header("docker-content-digest", Digest::of(b"other").to_string());
    registry.serve("/v2/wrong/manifests/1", wrong, 100).await;
    registry.serve("/v2/huge/manifests/1", served(OCI_MANIFEST, &vec![b' '; (4 << 20) + 1]), 100).await;
    registry.serve("/v2/html/manifests/1", served(OCI_MANIFEST, b"<html>"), 100).await;
    registry.serve("/v2/blob/manifests/1", served(OCI_MANIFEST, &bytes), 100).await;
    let blob = format!("/v2/blob/blobs/{}", Digest::of(&config("amd64")));
    registry.serve(&blob, ResponseTemplate::new(200).set_body_string("{}"), 100).await;
    let swapped = Digest::of(b"asked for");
    registry
        .serve(
            &format!("/v2/swapped/manifests/{swapped}"),
            ResponseTemplate::new(200).set_body_raw(bytes, OCI_MANIFEST),
            100,
        )
        .await;
    for (name, expected) in [
        ("wrong:1".to_owned(), "served wrongly"),
        ("huge:1".to_owned(), "more than"),
        ("html:1".to_owned(), "cannot be read"),
        ("blob:1".to_owned(), "served wrongly"),
        (format!("swapped@{swapped}"), "served wrongly"),
    ] {
        let mut document = document("probe", &registry.image(&name));
        document["description"] = name.clone().into();
        let id = market.published(&document).await;
        let release = market.until(&id, "verification_failed").await;
        assert!(release["reason"].as_str().unwrap().contains(expected), "{name}: {release}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_without_images_fails() {
    let registry = Registry::start().await;
    let image = registry.push_index("only-attestations", "1", &[]).await.image;
    let market = Market::beside(&registry).await;
    assert!(failed(&market, &image).await.contains("without any image"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_the_configuration_does_not_name_is_not_reached_inside() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::start(|_| ()).await;
    let reason = failed(&market, &image).await;
    assert!(reason.contains(&format!("[registries.\"{}\"]", registry.host())), "{reason}");
    let by_name = "localhost/a:1";
    let id = market.published(&document("by-name", by_name)).await;
    let reason = market.until(&id, "verification_failed").await["reason"].to_string();
    assert!(reason.contains("loopback"), "{reason}");
    assert!(registry.requests().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_named_is_reached_by_its_name() {
    let registry = Registry::start().await;
    registry.push("a", "1").await;
    let host = format!("localhost:{}", registry.server.address().port());
    let market = Market::start(|config| _ = config.registries.insert(host.clone(), insecure())).await;
    market.approved(&document("probe", &format!("{host}/a:1"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn naming_one_port_opens_no_other() {
    let (named, other) = (Registry::start().await, Registry::start().await);
    let image = other.push("a", "1").await.image;
    let market = Market::beside(&named).await;
    failed(&market, &image).await;
    assert!(other.requests().await.is_empty());
}

fn with_user(registry: &Registry, folder: &tempfile::TempDir) -> impl FnOnce(&mut Config) {
    let path = folder.path().join("password");
    std::fs::write(&path, "geheim\n").unwrap();
    let host = registry.host();
    move |config| {
        let settings = RegistrySettings {
            user: Some("me".to_owned()),
            password_file: Some(path),
            insecure: true,
            ..RegistrySettings::default()
        };
        config.registries.insert(host, settings);
    }
}

/// `me:geheim`
const BASIC: &str = "Basic bWU6Z2VoZWlt";

#[tokio::test(flavor = "multi_thread")]
async fn basic_credentials_are_sent_when_asked_for() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    registry.protect("Basic realm=\"r\"", BASIC).await;
    let folder = tempfile::tempdir().unwrap();
    let market = Market::start(with_user(&registry, &folder)).await;
    market.approved(&document("probe", &image)).await;
    assert!(
        registry.requests().await[0].headers.get("authorization").is_none(),
        "not before they are asked for"
    );

    let without = Market::beside(&registry).await;
    let reason = failed(&without, &image).await;
    assert!(reason.contains("user and password_file"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_used_for_whom_and_what_it_is_limited_to() {
    let registry = Registry::start().await;
    let pushed = registry.push("private", "1").await;
    registry.protect("Basic realm=\"r\"", BASIC).await;
    let folder = tempfile::tempdir().unwrap();
    let open = Market::beside(&registry).await;
    let anonymous = failed(&open, &pushed.image).await;
    let market = Market::start(|config| {
        with_user(&registry, &folder)(config);
        let settings = config.registries.get_mut(&registry.host()).unwrap();
        settings.publishers = vec!["paul".to_owned(), "petra".to_owned()];
        settings.addons = vec!["acme-*".to_owned()];
    })
    .await;
    let publish = async |account: &str, name: &str, image: &str| {
        let token = market.token(account, &["publish"], None).await;
        let body = serde_json::to_vec(&document(name, image)).unwrap();
        let answer = market.send(Method::POST, ADDONS, Some(&token), Some(body)).await.expect(201).json();
        answer["_id"].as_str().unwrap().to_owned()
    };
    let by_digest = registry.image(&format!("private@{}", pushed.digest));
    let seen = publish("paul", "acme-probe", &pushed.image).await;
    market.until(&seen, "approved").await;
    // Whoever else asks, and what else they ask for, is told what everybody is; also what was seen with the login.
    for (account, name, image) in [
        ("mary", "acme-other", &pushed.image),
        ("mary", "acme-third", &by_digest),
        ("paul", "probe", &pushed.image),
    ] {
        let id = publish(account, name, image).await;
        let release = market.until(&id, "verification_failed").await;
        let reason = release["reason"].as_str().unwrap();
        assert_eq!(reason.replace(image, &pushed.image), anonymous, "{account} {name}");
        let check = market.report(&id).await;
        let check = image_check(&check);
        assert_eq!(check.evidence.keys().collect::<Vec<_>>(), ["image"], "{check:?}");
    }
    let also = publish("petra", "acme-last", &pushed.image).await;
    market.until(&also, "approved").await;
    // And looked for again, it is with the login.
    market.act(&seen, "reverify", &json!({})).await.expect(200);
    let again = |report: &VerificationReport| report.next_attempt_at.is_none();
    let report = market.until_report(&seen, "it is looked for again", again).await;
    assert_eq!(image_check(&report).verdict, Verdict::Pass);
    assert!(market.release(&seen).await.get("image_missing_since").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_limited_login_has_shown_is_not_remembered_for_others() {
    let registry = Registry::start().await;
    let image = registry.push("half-private", "1").await.image;
    // Whoever can read the manifest still has to log in for what the image says of itself.
    registry.protect_paths("/blobs/", "Basic realm=\"r\"", BASIC).await;
    let folder = tempfile::tempdir().unwrap();
    let market = Market::start(|config| {
        with_user(&registry, &folder)(config);
        config.registries.get_mut(&registry.host()).unwrap().publishers = vec!["paul".to_owned()];
    })
    .await;
    for (account, status) in [("paul", "approved"), ("mary", "verification_failed")] {
        let token = market.token(account, &["publish"], None).await;
        let body = serde_json::to_vec(&document(&format!("of-{account}"), &image)).unwrap();
        let answer = market.send(Method::POST, ADDONS, Some(&token), Some(body)).await.expect(201).json();
        market.until(answer["_id"].as_str().unwrap(), status).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_from_the_realm() {
    let registry = Registry::start().await;
    let image = registry.push_index("team/a", "1", &["amd64", "arm64"]).await.image;
    let realm = format!("http://{}/token", registry.host());
    let challenge = format!("Bearer realm=\"{realm}\",service=\"svc\",scope=\"repository:team/a:pull\"");
    registry.protect(&challenge, "Bearer abc").await;
    registry.token_service(Some(BASIC), "abc").await;
    let folder = tempfile::tempdir().unwrap();
    let market = Market::start(with_user(&registry, &folder)).await;
    market.approved(&document("probe", &image)).await;
    let asked = registry.requests().await;
    let tokens: Vec<_> = asked.iter().filter(|request| request.url.path() == "/token").collect();
    assert_eq!(tokens.len(), 1, "one login for one image");
    assert_eq!(tokens[0].url.query(), Some("service=svc&scope=repository%3Ateam%2Fa%3Apull"));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_refused_fail_and_say_whose() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    registry.protect("Basic realm=\"r\"", "Basic other").await;
    let folder = tempfile::tempdir().unwrap();
    let market = Market::start(with_user(&registry, &folder)).await;
    let reason = failed(&market, &image).await;
    assert!(reason.contains(&format!("[registries.\"{}\"]", registry.host())), "{reason}");
    assert!(!reason.contains("geheim"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realm_at_another_host_gets_nothing() {
    let (registry, thief) = (Registry::start().await, Registry::start().await);
    let image = registry.push("a", "1").await.image;
    let port = thief.server.address().port();
    registry
        .protect(&format!("Bearer realm=\"http://localhost:{port}/token\",service=\"s\""), "Bearer abc")
        .await;
    thief.token_service(None, "abc").await;
    let folder = tempfile::tempdir().unwrap();
    let configure = with_user(&registry, &folder);
    let market = Market::start(|config| {
        configure(config);
        config.registries.insert(format!("localhost:{port}"), insecure());
    })
    .await;
    failed(&market, &image).await;
    assert!(thief.requests().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_another_host_takes_no_credentials_along() {
    let (registry, store) = (Registry::start().await, Registry::start().await);
    let pushed = registry.push("a", "1").await;
    registry.protect("Basic realm=\"r\"", BASIC).await;
    let bytes = manifest("amd64", 1000);
    store.serve("/elsewhere", served(OCI_MANIFEST, &bytes), 1).await;
    let to = format!("http://{}/elsewhere", store.host());
    let away = ResponseTemplate::new(307).insert_header("location", HeaderValue::from_str(&to).unwrap());
    registry.serve("/v2/a/manifests/1", away, 50).await;
    let folder = tempfile::tempdir().unwrap();
    let configure = with_user(&registry, &folder);
    let market = Market::start(|config| {
        configure(config);
        store.allow(config);
    })
    .await;
    let release = market.approved(&document("probe", &pushed.image)).await;
    assert_eq!(release["pins"][0]["digest"], pushed.digest.to_string());
    let asked = store.requests().await;
    assert_eq!(asked.len(), 1);
    assert!(asked[0].headers.get("authorization").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_inside_is_not_followed() {
    let (registry, inner) = (Registry::start().await, Registry::start().await);
    let to = format!("http://{}/v2/secret/manifests/1", inner.host());
    // Gateways send everybody elsewhere while their registry is away: that says nothing about the image.
    for (name, target, expected) in [
        ("loop", "/v2/loop/manifests/1".to_owned(), "redirects more than 3 times".to_owned()),
        ("inside", to, format!("sends on to {}, which is not followed: plain http", inner.host())),
        ("port", "https://127.0.0.1:9/x".to_owned(), "127.0.0.1:9, which is not followed".to_owned()),
        ("meta", "https://169.254.169.254/".to_owned(), "a link-local address".to_owned()),
        ("file", "file:///etc/passwd".to_owned(), "file: is no way to reach a registry".to_owned()),
        ("", String::new(), "redirects without saying where".to_owned()),
    ] {
        let away = ResponseTemplate::new(302);
        let away = if target.is_empty() {
            away
        } else {
            away.insert_header("location", HeaderValue::from_str(&target).unwrap())
        };
        let repository = if name.is_empty() { "nowhere" } else { name };
        registry.serve(&format!("/v2/{repository}/manifests/1"), away, 50).await;
        let market = Market::beside(&registry).await;
        let image = registry.image(&format!("{repository}:1"));
        let (_, report) = unanswered(&market, &image).await;
        let said = &image_check(&report).message;
        assert!(said.contains(&expected) && !said.contains("[registries."), "{said}");
    }
    assert!(inner.requests().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_shows_nothing_any_more_has_lost_nothing() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let id = market.approved(&document("probe", &image)).await["_id"].as_str().unwrap().to_owned();
    let before = market.release(&id).await;
    let to = HeaderValue::from_static("http://maintenance.example/");
    let elsewhere = ResponseTemplate::new(302).insert_header("location", to);
    let closed = error(401, "UNAUTHORIZED").insert_header("www-authenticate", "Basic realm=\"r\"");
    for answer in [elsewhere, closed, error(403, "DENIED")] {
        let away = registry.switch(answer).await;
        market.act(&id, "reverify", &json!({})).await.expect(200);
        let given_up = |report: &VerificationReport| report.attempts >= 8 && report.next_attempt_at.is_none();
        let report = market.until_report(&id, "it is not asked for ever", given_up).await;
        assert_eq!(image_check(&report).verdict, Verdict::NoAnswer);
        assert_eq!(market.release(&id).await, before);
        away.off();
        market.act(&id, "reverify", &json!({})).await.expect(200);
        let there = |report: &VerificationReport| image_check(report).verdict == Verdict::Pass;
        market.until_report(&id, "the next look finds it", there).await;
    }
    let gone = registry.switch(error(404, "NAME_UNKNOWN")).await;
    market.act(&id, "reverify", &json!({})).await.expect(200);
    eventually("that is gone", || async { market.release(&id).await.get("image_missing_since").map(|_| ()) })
        .await;
    gone.off();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_the_registry_where_it_has_nothing() {
    let (registry, mirror) = (Registry::start().await, Registry::start().await);
    let mirrored = mirror.push("a", "1").await;
    let own = registry.push("b", "1").await;
    let market = Market::start(|config| {
        mirror.allow(config);
        let settings =
            RegistrySettings { mirror: Some(mirror.host()), insecure: true, ..RegistrySettings::default() };
        config.registries.insert(registry.host(), settings);
    })
    .await;
    let release = market.approved(&document("mirrored", &registry.image("a:1"))).await;
    assert_eq!(release["pins"][0]["digest"], mirrored.digest.to_string());
    assert_eq!(release["pins"][0]["image"], registry.image("a:1"), "the image stays as published");
    assert!(registry.requests().await.is_empty());
    market.approved(&document("own", &own.image)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_names_and_look_alikes_of_others_fail() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let id = market.published(&document("Oakestra", &image)).await;
    let release = market.until(&id, "verification_failed").await;
    assert!(release["reason"].as_str().unwrap().contains("reserved"), "{release}");
    market.approved(&document("mosquitto", &image)).await;
    let token = market.token("mallory", &["publish"], None).await;
    let body = serde_json::to_vec(&document("m0squitto", &image)).unwrap();
    let id = market.send(Method::POST, ADDONS, Some(&token), Some(body)).await.expect(201).json();
    let release = market.until(id["_id"].as_str().unwrap(), "verification_failed").await;
    assert!(release["reason"].as_str().unwrap().contains("mosquitto"), "{release}");
}

#[tokio::test(flavor = "multi_thread")]
async fn validating_tells_of_a_name_what_the_checks_will() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let owner = market.token("paul", &["publish"], None).await;
    let body = |name: &str| Some(serde_json::to_vec(&document(name, &image)).unwrap());
    let id = market.send(Method::POST, ADDONS, Some(&owner), body("mosquitto")).await.expect(201).json();
    market.until(id["_id"].as_str().unwrap(), "approved").await;
    let other = market.token("mallory", &["publish"], None).await;
    let said = async |name: &str, token: Option<&str>| {
        let path = "/api/v1/marketplace/validate";
        let answer = market.send(Method::POST, path, token, body(name)).await.expect(200).json();
        let of_name = |key: &str| {
            let all = answer[key].as_array().unwrap().iter();
            let found: Vec<String> = all
                .filter(|finding| finding["path"] == "/name")
                .map(|finding| format!("{}: {}", finding["rule"], finding["message"]))
                .collect();
            found.concat()
        };
        (answer["valid"].as_bool().unwrap(), of_name("violations"), of_name("warnings"))
    };
    let (valid, violation, _) = said("0akestra", None).await;
    assert!(!valid && violation.contains("reserved-name") && violation.contains("reads like oakestra"));
    for (name, token, words) in [
        ("m0squitto", Some(other.as_str()), "reads like mosquitto"),
        ("mosquito", None, "a slip away from mosquitto"),
    ] {
        let (valid, violations, warning) = said(name, token).await;
        assert!(valid && violations.is_empty(), "{name}: {violations}");
        assert!(warning.contains("look-alike-name") && warning.contains(words), "{name}: {warning}");
        // And published it comes to that.
        let answer = market.send(Method::POST, ADDONS, Some(&other), body(name)).await.expect(201).json();
        market
            .until_report(answer["_id"].as_str().unwrap(), words, |report| {
                report.checks.first().is_some_and(|check| check.message.contains(words))
            })
            .await;
        // Now that it is there, it is told of as before.
        assert!(said(name, token).await.2.contains(words), "{name}");
    }
    assert_eq!(said("mosquittoo", Some(&owner)).await, (true, String::new(), String::new()), "one's own");
    assert_eq!(said("mosquitto", None).await, (true, String::new(), String::new()), "what was approved");
}

/// Lets the database refuse what is found out about images.
async fn refuse_pins(market: &Market) {
    match market.app().storage().db() {
        Db::Sqlite { writer, .. } => {
            let sql = "CREATE TRIGGER refused BEFORE UPDATE OF pins ON releases WHEN NEW.pins <> '[]'
                       BEGIN SELECT RAISE(ABORT, 'it is not taken'); END";
            sqlx::query(sql).execute(writer).await.unwrap();
        }
        Db::Postgres(pool) => {
            for sql in [
                "CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'it is not taken' USING ERRCODE = '22P05'; END $$",
                "CREATE TRIGGER refused BEFORE UPDATE ON releases FOR EACH ROW WHEN (NEW.pins <> '[]')
                 EXECUTE FUNCTION refused()",
            ] {
                sqlx::query(sql).execute(pool).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_that_the_database_does_not_take_is_said_and_ends() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    // So long a lease would be the wait of a job that nobody gives back.
    let market = Market::start(|config| {
        registry.allow(config);
        config.verification.lease_ms = 600_000;
    })
    .await;
    refuse_pins(&market).await;
    let id = market.published(&document("probe", &image)).await;
    let reason = market.until(&id, "verification_failed").await["reason"].to_string();
    assert!(reason.contains("cannot be recorded"), "{reason}");
    let report = market.report(&id).await;
    assert_eq!((report.attempts, report.next_attempt_at, report.verdict), (5, None, Verdict::Fail));
    assert_eq!(report.checks[0].check, "verdict-recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_mid_verification_loses_nothing() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let slow = registry.switch(error(500, "UNKNOWN").set_delay(Duration::from_millis(400))).await;
    let mut market = Market::beside(&registry).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(market.published(&document(&format!("probe-{n}"), &image)).await);
    }
    eventually("the first are asked for", || async { (!registry.requests().await.is_empty()).then_some(()) })
        .await;
    market.restart().await;
    slow.off();
    for id in &ids {
        market.until(id, "approved").await;
    }
    assert_eq!(market.app().storage().queue_depth().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_a_crash_left_is_taken_up_at_the_start() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let away = registry.switch(ResponseTemplate::new(500)).await;
    let mut market = Market::in_a_file(|config| {
        registry.allow(config);
        config.verification.lease_ms = 600_000;
        config.verification.retry_base_ms = 600_000;
        config.verification.retry_cap_ms = 600_000;
    })
    .await;
    let (id, _) = unanswered(&market, &image).await;
    // What a process leaves behind that was killed while it held the release.
    let storage = market.app().storage().clone();
    let release = storage.release(id.parse().unwrap()).await.unwrap().unwrap();
    let failed = marketplace::domain::release::Status::UnderReview;
    let by = service_kit::audit::Actor::host();
    assert!(
        storage
            .reverify(&release, failed, false, None, &by, addon_client::Timestamp::from_millis(1))
            .await
            .unwrap()
    );
    let now = service_kit::clock::Clock::now(&service_kit::clock::SystemClock);
    let job = storage.claim("killed", now, Duration::from_secs(600), None).await.unwrap();
    assert!(job.is_some());
    away.off();
    market.restart().await;
    market.until(&id, "approved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_instead_of_a_configuration_is_no_answer() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    registry.serve("/v2/a/manifests/1", served(OCI_MANIFEST, &manifest("amd64", 10)), 100).await;
    let blob = format!("/v2/a/blobs/{}", Digest::of(&config("amd64")));
    registry.serve(&blob, ResponseTemplate::new(200).set_body_raw("<html>", "text/html"), 100).await;
    let (_, report) = unanswered(&market, &registry.image("a:1")).await;
    let said = &image_check(&report).message;
    assert!(said.contains("text/html, but not as a registry does"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_finds_nothing_says_nothing_about_the_image() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", registry.host());
    registry.protect(&challenge, "Bearer abc").await;
    registry.serve("/token", error(404, "NOT_FOUND"), 3).await;
    let market = Market::beside(&registry).await;
    let (_, report) = unanswered(&market, &image).await;
    let said = &image_check(&report).message;
    assert!(said.contains("asked for a token and answers 404"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_an_index_that_is_missing_is_named() {
    let registry = Registry::start().await;
    let image = registry.push_index("a", "1", &["amd64", "arm64"]).await.image;
    let missing = Digest::of(&manifest("arm64", 1001));
    registry.serve(&format!("/v2/a/manifests/{missing}"), error(404, "MANIFEST_UNKNOWN"), 50).await;
    let market = Market::beside(&registry).await;
    let reason = failed(&market, &image).await;
    assert!(reason.contains(&format!("{missing} for linux/arm64")), "{reason}");
    assert!(!reason.contains("does not exist"), "the tag does: {reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_missing_is_named() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let missing = Digest::of(&config("amd64"));
    registry.serve(&format!("/v2/a/blobs/{missing}"), error(404, "BLOB_UNKNOWN"), 50).await;
    let market = Market::beside(&registry).await;
    let reason = failed(&market, &image).await;
    assert!(reason.contains(&missing.to_string()) && !reason.contains("does not exist"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_image_and_what_is_wrong() {
    let registry = Registry::start().await;
    let image = registry.image("a:1");
    registry.serve("/v2/a/manifests/1", served(OCI_MANIFEST, &vec![b' '; (4 << 20) + 1]), 50).await;
    let market = Market::beside(&registry).await;
    let reason = failed(&market, &image).await;
    let expected = format!("{} answers with more than 4194304 bytes", registry.host());
    assert!(reason.contains(&image) && reason.contains(&expected), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_writes_into_its_errors_is_not_passed_on() {
    let registry = Registry::start().await;
    let image = registry.image("a:1");
    let code = format!("\u{1b}[31m<script>{}", "A".repeat(10_000));
    registry.serve("/v2/a/manifests/1", error(400, &code), 50).await;
    let market = Market::beside(&registry).await;
    let reason = failed(&market, &image).await;
    assert!(reason.ends_with(": a malformed request"), "{reason}");
    registry.serve("/v2/b/manifests/1", error(400, "NAME_INVALID"), 50).await;
    let id = market.published(&document("other", &registry.image("b:1"))).await;
    let release = market.until(&id, "verification_failed").await;
    assert!(release["reason"].as_str().unwrap().ends_with(": NAME_INVALID"), "{release}");
    let kind = format!("\u{1b}{}", "x".repeat(100_000));
    let odd = json!({"schemaVersion": 2, "layers": [],
        "config": {"mediaType": kind, "digest": Digest::of(b"c").to_string(), "size": 1}});
    registry.serve("/v2/c/manifests/1", served(OCI_MANIFEST, odd.to_string().as_bytes()), 50).await;
    let id = market.published(&document("third", &registry.image("c:1"))).await;
    let release = market.until(&id, "verification_failed").await;
    let reason = release["reason"].as_str().unwrap();
    assert!(reason.len() < 1_000 && !reason.contains('\u{1b}'), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_hangs_does_not_hold_up_the_others() {
    let (hung, good) = (Registry::start().await, Registry::start().await);
    let image = good.push("a", "1").await.image;
    let _silent = hung.switch(ResponseTemplate::new(200).set_delay(Duration::from_secs(60))).await;
    let market = Market::start(|config| {
        hung.allow(config);
        good.allow(config);
    })
    .await;
    let mut waiting = Vec::new();
    for n in 0..40 {
        waiting.push(market.published(&document(&format!("probe-{n}"), &hung.image("a:1"))).await);
    }
    market.approved(&document("good", &image)).await;
    for id in &waiting {
        let report = market.until_report(id, "a run", |report| report.checked_at.is_some()).await;
        assert_eq!(report.verdict, Verdict::NoAnswer, "{report:?}");
    }
    let asked = hung.requests().await.len();
    assert!(asked < 20, "each of 40 releases had a run, and a registry that hangs was asked {asked} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_publisher_holds_up_nobody_else() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::start(|config| {
        registry.allow(config);
        config.verification.parallel = 2;
    })
    .await;
    let slow = registry.switch(error(500, "UNKNOWN").set_delay(Duration::from_millis(300))).await;
    // An administrator, whom no limit holds back.
    let flooder = market.token("flooder", &["publish", "admin"], None).await;
    let body = |name: &str| Some(serde_json::to_vec(&document(name, &image)).unwrap());
    let publish = async |token: &str, name: &str| {
        let answer = market.send(Method::POST, ADDONS, Some(token), body(name)).await.expect(201);
        answer.json()["_id"].as_str().unwrap().to_owned()
    };
    let mut flood = Vec::new();
    for n in 0..60 {
        flood.push(publish(&flooder, &format!("flood-{n}")).await);
    }
    slow.off();
    let other = publish(&market.token("mary", &["publish"], None).await, "other").await;
    market.until(&other, "approved").await;
    let mut waiting = 0;
    for id in &flood {
        waiting += u32::from(market.release(id).await["status"] == "under_review");
    }
    assert!(waiting > 20, "it did not wait for the flood, of which {waiting} still wait");
    for id in &flood {
        market.until(id, "approved").await;
    }
}

/// A server that sends what it is given, byte by byte and without end; gives its `host:port`.
async fn dribbling(head: &'static str, piece: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                use tokio::io::AsyncWriteExt as _;
                let mut pace = tokio::time::interval(Duration::from_millis(50));
                let mut sent = stream.write_all(head.as_bytes()).await;
                while sent.is_ok() {
                    pace.tick().await;
                    sent = stream.write_all(piece.as_bytes()).await;
                }
            });
        }
    });
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_ends_is_no_answer() {
    let kind = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.oci.image.manifest.v1+json\r\n";
    let body: &'static str = Box::leak(format!("{kind}content-length: 4000000\r\n\r\n{{").into_boxed_str());
    for (head, piece) in [(body, " "), (kind, "x"), ("", "H"), ("HTTP/1.1 200 OK\r\n", "a: b\r\n")] {
        let host = dribbling(head, piece).await;
        let market = Market::start(|config| {
            config.registries.insert(host.clone(), insecure());
            config.verification.request_timeout_ms = 700;
        })
        .await;
        let begun = std::time::Instant::now();
        let (_, report) = unanswered(&market, &format!("{host}/a:1")).await;
        assert_eq!(image_check(&report).verdict, Verdict::NoAnswer, "{piece:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_read_to_the_limit_and_no_further() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let bytes = manifest("amd64", 10);
    registry.serve("/v2/a/manifests/1", served(OCI_MANIFEST, &bytes), 100).await;
    let blob = format!("/v2/a/blobs/{}", Digest::of(&config("amd64")));
    registry.serve(&blob, served("application/octet-stream", &vec![b' '; (1 << 20) + 1]), 100).await;
    let reason = failed(&market, &registry.image("a:1")).await;
    assert!(reason.contains("more than 1048576 bytes"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_inside_are_refused_in_whichever_form() {
    let market = Market::start(|_| ()).await;
    let hosts = [
        "127.0.0.1",
        "127.0.0.1:443",
        "127.1",
        "0x7f.1",
        "2130706433:443",
        "169.254.169.254",
        "10.0.0.1:5000",
        "localhost",
        "localhost:5000",
        "[::1]",
        "[::1]:5000",
        "[::ffff:10.0.0.1]",
        "[fd00::1]:5000",
        "[fe80::1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
        "registry.example:8443",
    ];
    for (n, host) in hosts.iter().enumerate() {
        let id = market.published(&document(&format!("probe-{n}"), &format!("{host}/a:1"))).await;
        let release = market.until(&id, "verification_failed").await;
        let reason = release["reason"].as_str().unwrap();
        assert!(reason.contains("cannot be verified") && reason.contains("is not asked"), "{host}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_while_images_are_looked_for_changes_nothing() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let id = market.approved(&document("probe", &image)).await["_id"].as_str().unwrap().to_owned();
    let before = market.release(&id).await;
    let away = registry.switch(ResponseTemplate::new(500)).await;
    market.act(&id, "reverify", &json!({})).await.expect(200);
    let given_up = |report: &VerificationReport| report.attempts >= 8 && report.next_attempt_at.is_none();
    let report = market.until_report(&id, "it is not asked for ever", given_up).await;
    assert_eq!(image_check(&report).verdict, Verdict::NoAnswer);
    assert_eq!(market.release(&id).await, before);
    away.off();
    market.act(&id, "reverify", &json!({})).await.expect(200);
    let there = |report: &VerificationReport| image_check(report).verdict == Verdict::Pass;
    market.until_report(&id, "the next look finds it", there).await;
}
