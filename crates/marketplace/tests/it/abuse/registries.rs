//! Registries that serve something else each time, move tags, lead elsewhere, or give no answer in whatever way; and people
//! who approve while things change. What is approved is what was checked, and nothing else is reached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use addon_client::{Check, Verdict, VerificationReport};
use addon_descriptor::Digest;
use marketplace::domain::verification::Mode;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use wiremock::{Request, Respond, ResponseTemplate};

use crate::market::{ADDONS, Market, document, eventually, insecure};
use crate::registry::{OCI_INDEX, OCI_MANIFEST, Registry, error, manifest, served};

/// Serves one manifest after the other.
struct Turns {
    answers: Vec<ResponseTemplate>,
    asked: AtomicUsize,
}

impl Respond for Turns {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        self.answers[turn % self.answers.len()].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_serves_another_manifest_each_time_is_pinned_to_what_was_checked() {
    let registry = Registry::start().await;
    // Under its digest each is served; what stands under the tag changes with each request.
    let mut answers = Vec::new();
    let mut sizes = BTreeMap::new();
    for bytes in [1000, 2000, 3000] {
        registry.push_of("a", bytes).await;
        let manifest = manifest("amd64", bytes);
        sizes.insert(Digest::of(&manifest).to_string(), bytes);
        answers.push(served(OCI_MANIFEST, &manifest));
    }
    registry.serve("/v2/a/manifests/1", Turns { answers, asked: AtomicUsize::new(0) }, 10).await;
    let market = Market::start(|config| {
        registry.allow(config);
        config.verification.recheck_hours = 0;
    })
    .await;
    for n in 0..9 {
        let release = market.approved(&document(&format!("probe-{n}"), &registry.image("a:1"))).await;
        let pin = &release["pins"][0];
        let size =
            sizes.get(pin["digest"].as_str().unwrap()).unwrap_or_else(|| panic!("{pin} was never served"));
        assert!(
            pin["bytes"].as_u64().unwrap() >= *size && pin["bytes"].as_u64().unwrap() < size + 900,
            "{pin}"
        );
        let id = release["_id"].as_str().unwrap();
        let before = release["pins"].clone();
        market.act(id, "reverify", &json!({})).await.expect(200);
        market.until_report(id, "it was looked for again", |report| report.next_attempt_at.is_none()).await;
        assert_eq!(market.release(id).await["pins"], before, "a look changes no pin");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_after_approval_moves_nothing() {
    let registry = Registry::start().await;
    let old = registry.push("a", "1").await;
    let market = Market::beside(&registry).await;
    let release = market.approved(&document("probe", &old.image)).await;
    let id = release["_id"].as_str().unwrap();
    assert_eq!(release["pins"][0]["digest"], old.digest.to_string());
    let other = manifest("amd64", 7777);
    registry.serve("/v2/a/manifests/1", served(OCI_MANIFEST, &other), 10).await;
    market.act(id, "reverify", &json!({})).await.expect(200);
    market.until_report(id, "it was looked for again", |report| report.next_attempt_at.is_none()).await;
    let now = market.release(id).await;
    assert_eq!(
        (&now["pins"], &now["status"], now.get("image_missing_since")),
        (&release["pins"], &json!("approved"), None)
    );
    assert_eq!(
        market.publish(&document("probe", &old.image)).await.expect(200).json()["pins"],
        release["pins"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_as_two_things_fails() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let image: Value = serde_json::from_slice(&manifest("amd64", 10)).unwrap();
    let mut both = image.clone();
    both["manifests"] = json!([]);
    let mut other = image.clone();
    other["mediaType"] = OCI_INDEX.into();
    let first = format!("sha256:{}", "1".repeat(64));
    let swapped = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": first, "size": 1, "platform": {"os": "linux", "architecture": "arm64"}}]});
    let twice =
        String::from_utf8(manifest("amd64", 10)).unwrap().replacen('{', "{\"layers\":[],", 1).into_bytes();
    registry
        .serve(&format!("/v2/swapped/manifests/{first}"), served(OCI_MANIFEST, &manifest("amd64", 10)), 10)
        .await;
    for (name, kind, bytes) in [
        ("both", OCI_MANIFEST, serde_json::to_vec(&both).unwrap()),
        ("other", OCI_MANIFEST, serde_json::to_vec(&other).unwrap()),
        ("as-index", OCI_INDEX, manifest("amd64", 10)),
        ("swapped", OCI_INDEX, serde_json::to_vec(&swapped).unwrap()),
        ("twice", OCI_MANIFEST, twice),
    ] {
        registry.serve(&format!("/v2/{name}/manifests/1"), served(kind, &bytes), 10).await;
        let id = market.published(&document(name, &registry.image(&format!("{name}:1")))).await;
        let release = market.until(&id, "verification_failed").await;
        assert!(release.get("pins").is_none_or(|pins| *pins == json!([])), "{name}: {release}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_without_an_answer_approves_nothing_in_whatever_way_it_fails() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let market = async || {
        Market::start(|config| {
            registry.allow(config);
            config.registries.insert(format!("127.0.0.1:{nobody}"), insecure());
            config.verification.request_timeout_ms = 300;
            config.verification.idle_timeout_ms = 200;
        })
        .await
    };
    let page = ResponseTemplate::new(200).set_body_raw("<html>login</html>", "text/html");
    // Each with what is said of it alone, to a marketplace that has not heard of the others: a registry that failed is left alone for longer
    // and longer.
    let faults = [
        ("an-error", "(500)", ResponseTemplate::new(500)),
        ("unavailable", "(503)", ResponseTemplate::new(503)),
        ("a-gateway", "(502)", ResponseTemplate::new(502).set_body_string("<html>")),
        ("too-many", "(429)", error(429, "TOOMANYREQUESTS")),
        (
            "a-timeout",
            "gives no answer: it did not answer in time",
            ResponseTemplate::new(200).set_delay(Duration::from_secs(5)),
        ),
        ("a-page", "it answers 200 with text/html, but not as a registry does", page),
        ("nothing", "it answers 204, but not as a registry does", ResponseTemplate::new(204)),
        ("teapot", "it answers 418, but not as a registry does", ResponseTemplate::new(418)),
    ];
    for (name, said, fault) in faults {
        let on = registry.switch(fault).await;
        let market = market().await;
        let id = market.published(&document(name, &image)).await;
        let report = market
            .until_report(&id, &format!("{name} was met"), |report| {
                let unanswered = |check: &Check| check.verdict == Verdict::NoAnswer;
                report.checks.iter().any(|check| unanswered(check) && check.message.ends_with(said))
            })
            .await;
        let digest = report.digest.to_string();
        for body in [json!({}), json!({"digest": digest}), json!({"reason": "looks good"})] {
            let code = market.act(&id, "approve", &body).await.expect(409).json()["code"].clone();
            assert!(code == "checks-not-green" || code == "wrong-status", "{name}: {code}");
        }
        assert_ne!(market.release(&id).await["status"], "approved", "{name}");
        on.off();
    }
    // Nobody is there at all.
    let market = market().await;
    let id = market.published(&document("absent", &format!("127.0.0.1:{nobody}/a:1"))).await;
    market
        .until_report(&id, "nobody answers", |report| report.attempts >= 1 && report.checked_at.is_some())
        .await;
    market.act(&id, "approve", &json!({})).await.problem(409, "checks-not-green");
}

/// Approving races with everything else that people do to a release.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_approved_while_others_change_it_is_what_was_reviewed() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::start(|config| {
        registry.allow(config);
        config.review.mode = Mode::Manual;
    })
    .await;
    let rounds: u32 = option_env!("MARKETPLACE_RACES").map_or(60, |number| number.parse().unwrap());
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0..rounds {
        let name = format!("probe-{round}");
        let id = market.published(&document(&name, &image)).await;
        let report = market.until_report(&id, "green", |report| report.verdict == Verdict::Pass).await;
        let approve = json!({"digest": report.digest});
        let reviewed = report.digest.to_string();
        let other = async {
            match round % 4 {
                0 => market.act(&id, "reject", &json!({"reason": "no"})).await.status,
                1 => market.delete(&id).await.status,
                2 => {
                    // Deleted, and another document in its place.
                    let status = market.delete(&id).await.status;
                    let mut next = document(&name, &image);
                    next["description"] = "another".into();
                    market.publish(&next).await;
                    status
                }
                _ => market.act(&id, "approve", &approve).await.status,
            }
        };
        let (approved, other) = tokio::join!(market.act(&id, "approve", &approve), other);
        assert!([200, 404, 409].contains(&approved.status), "{}", approved.text);
        if approved.status == 200 {
            assert_eq!(approved.json()["digest"], reviewed.as_str());
        }
        let left = market.get_as_admin(&format!("{ADDONS}/{id}")).await;
        if left.status == 200 {
            let release = left.json();
            assert_eq!(release["digest"], reviewed.as_str());
            let rows = market
                .get_as_admin(&format!("/api/v1/audit?subject={id}&action=release.approve"))
                .await
                .json();
            let count = rows.as_array().unwrap().len();
            assert_eq!(count, usize::from(release["status"] == "approved"), "{rows}");
        }
        *outcomes.entry(format!("{} and {other}", approved.status)).or_default() += 1;
    }
    // What came in another's place was not approved with it.
    let approved = market.get(&format!("{ADDONS}?status=approved&limit=1000")).await;
    let approved = if approved.status == 401 {
        market.get_as_admin(&format!("{ADDONS}?status=approved&limit=1000")).await
    } else {
        approved
    };
    for release in approved.expect(200).json().as_array().unwrap() {
        assert_ne!(release["description"], "another", "{release}");
    }
    println!("{rounds} races: {outcomes:?}");
}

/// A listener that nothing may reach; how many connections it took.
async fn canary(address: &str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let (port, hits) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&hits);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            _ = stream.read(&mut [0; 64]).await;
        }
    });
    (port, hits)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leads_to_a_listener_inside() {
    let registry = Registry::start().await;
    let (port, hits) = canary("127.0.0.1").await;
    let mut counters = vec![hits];
    let six = TcpListener::bind("[::1]:0").await.is_ok();
    if six {
        counters.push(canary("::1").await.1);
    }
    let market = Market::without_limits(&registry).await;
    // One that works, so that all else is not refused for another reason.
    let image = registry.push("good", "1").await.image;
    market.approved(&document("good", &image)).await;

    let spellings = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0.0.0.0",
        "0",
        "0x7f000001",
        "0x7f.0x0.0x0.0x1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.2",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "ip6-localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1%25lo]",
        "169.254.169.254",
        "100.64.0.1",
    ];
    let mut ids = Vec::new();
    let mut number = 0;
    let mut post = async |image: String| {
        number += 1;
        let answer = market.publish(&document(&format!("probe-{number}"), &image)).await;
        // What is no image at all is refused at once.
        if answer.status == 201 {
            ids.push((image, answer.json()["_id"].as_str().unwrap().to_owned()));
        } else {
            assert_eq!(answer.status, 422, "{image}: {}", answer.text);
        }
    };
    for host in spellings {
        post(format!("{host}:{port}/a:1")).await;
    }
    for image in [
        format!("user:pass@127.0.0.1:{port}/a:1"),
        format!("{}@127.0.0.1:{port}/a:1", registry.host()),
        format!("http://127.0.0.1:{port}/a:1"),
        format!("{}#@127.0.0.1:{port}/a:1", registry.host()),
    ] {
        post(image).await;
    }
    // The registry that is allowed leads there: by a redirect of a manifest, of a configuration, and by a realm.
    let there: Vec<String> = spellings.iter().map(|host| format!("{host}:{port}")).collect();
    for (n, host) in there.iter().enumerate() {
        for (kind, scheme) in [("http", "http"), ("https", "https")] {
            let to = format!("{scheme}://{host}/v2/a/manifests/1");
            let Ok(to) = HeaderValue::from_str(&to) else { continue };
            let away = ResponseTemplate::new(307).insert_header("location", to);
            let name = format!("redirect-{kind}-{n}");
            registry.serve(&format!("/v2/{name}/manifests/1"), away.clone(), 10).await;
            post(registry.image(&format!("{name}:1"))).await;
            let name = format!("blob-{kind}-{n}");
            let bytes = manifest("amd64", 1000);
            registry.serve(&format!("/v2/{name}/manifests/1"), served(OCI_MANIFEST, &bytes), 10).await;
            let config: Value = serde_json::from_slice(&bytes).unwrap();
            let blob = format!("/v2/{name}/blobs/{}", config["config"]["digest"].as_str().unwrap());
            registry.serve(&blob, away, 10).await;
            post(registry.image(&format!("{name}:1"))).await;
            let name = format!("realm-{kind}-{n}");
            let challenge = format!("Bearer realm=\"{scheme}://{host}/token\",service=\"s\"");
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                let asks = error(401, "UNAUTHORIZED").insert_header("www-authenticate", challenge);
                registry.serve(&format!("/v2/{name}/manifests/1"), asks, 10).await;
                post(registry.image(&format!("{name}:1"))).await;
            }
        }
    }
    assert!(ids.len() > 100, "only {}", ids.len());
    for (image, id) in &ids {
        let looked =
            |report: &VerificationReport| report.checked_at.is_some() && report.verdict != Verdict::Pending;
        let report = eventually(&format!("{image} is looked at"), || async {
            let report = market.report(id).await;
            looked(&report).then_some(report)
        })
        .await;
        assert!(matches!(report.verdict, Verdict::Fail | Verdict::NoAnswer), "{image}: {report:?}");
        assert_ne!(market.release(id).await["status"], "approved", "{image}");
    }
    for hits in &counters {
        assert_eq!(hits.load(Ordering::SeqCst), 0, "somebody came in");
    }
}

/// At the port that every registry has: nothing but what the address is speaks against asking there.
#[tokio::test(flavor = "multi_thread")]
async fn an_inner_address_is_refused_for_what_it_is() {
    let registry = Registry::start().await;
    let market = Market::without_limits(&registry).await;
    for (number, (host, kind)) in [
        ("127.0.0.1", "a loopback address"),
        ("127.1", "a loopback address"),
        ("localhost", "a loopback address"),
        ("[::1]", "a loopback address"),
        ("[::ffff:127.0.0.1]", "a loopback address"),
        ("10.0.0.1", "an address of a private network"),
        ("192.168.7.7", "an address of a private network"),
        ("172.16.0.1", "an address of a private network"),
        ("100.64.0.1", "an address of a private network"),
        ("169.254.169.254", "a link-local address"),
        ("0.0.0.0", "an unspecified address"),
        ("224.0.0.1", "a multicast address"),
    ]
    .into_iter()
    .enumerate()
    {
        let document = document(&format!("probe-{number}"), &format!("{host}/a:1"));
        let release = market.publish(&document).await.expect(201).json();
        let id = release["_id"].as_str().unwrap();
        let report = eventually(&format!("{host} is looked at"), || async {
            let report = market.report(id).await;
            (report.checked_at.is_some() && report.verdict != Verdict::Pending).then_some(report)
        })
        .await;
        let report = serde_json::to_string(&report).unwrap();
        assert!(report.contains(&format!("which is {kind}")), "{host}: {report}");
    }
}
