//! Names that are to be taken for another's.

use reqwest::Method;
use serde_json::{Value, json};

use crate::market::{ADDONS, Market, document, eventually};
use crate::registry::Registry;

/// Names of others for `original`, all of them read like it at a glance.
fn squats(original: &str) -> Vec<String> {
    let mut names = Vec::new();
    let alike = [
        ("0", "o"),
        ("o", "0"),
        ("i", "1"),
        ("i", "l"),
        ("l", "1"),
        ("l", "i"),
        ("s", "5"),
        ("m", "rn"),
        ("w", "vv"),
        ("d", "cl"),
        ("-", "_"),
        ("-", "."),
    ];
    for (from, to) in alike {
        for (at, found) in original.match_indices(from) {
            names.push(format!("{}{to}{}", &original[..at], &original[at + found.len()..]));
        }
        names.push(original.replace(from, to));
    }
    names.push(original.to_uppercase());
    let (head, tail) = original.split_at(1);
    names.push(format!("{}{tail}", head.to_uppercase()));
    // Other alphabets, and what is not seen.
    for (from, to) in [
        ("a", "\u{430}"),
        ("o", "\u{3bf}"),
        ("e", "\u{435}"),
        ("i", "\u{131}"),
        ("-", "\u{2010}"),
        ("m", "\u{ff4d}"),
    ] {
        names.push(original.replacen(from, to, 1));
    }
    for hidden in ["\u{200b}", "\u{ad}", "\u{202e}", " ", "\u{a0}", "\0"] {
        names.push(format!("{original}{hidden}"));
        names.push(format!("{hidden}{original}"));
    }
    names.extend([format!("-{original}"), format!("{original}-"), original.replace('-', "--")]);
    names.retain(|name| name != original);
    names.sort();
    names.dedup();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_that_reads_like_anothers_is_refused_or_not_approved() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::without_limits(&registry).await;
    let paul = market.token("paul", &["publish"], None).await;
    let mallory = market.token("mallory", &["publish"], None).await;
    let publish = async |token: &str, document: &Value| {
        market.send(Method::POST, ADDONS, Some(token), Some(serde_json::to_vec(document).unwrap())).await
    };
    let (mut tried, mut approved) = (0, Vec::new());
    for original in ["mosquitto-bridge", "wind-model", "oil-meter", "solid-pods"] {
        let own = publish(&paul, &document(original, &image)).await.expect(201).json();
        market.until(own["_id"].as_str().unwrap(), "approved").await;
        for name in squats(original) {
            tried += 1;
            let answer = publish(&mallory, &document(&name, &image)).await;
            if answer.status != 201 {
                assert!([403, 409, 422].contains(&answer.status), "{name:?}: {}", answer.text);
                continue;
            }
            let id = answer.json()["_id"].as_str().unwrap().to_owned();
            let release = eventually(&format!("{name:?} is judged"), || async {
                let release = market.release(&id).await;
                (release["status"] != "under_review").then_some(release)
            })
            .await;
            if release["status"] == "approved" {
                approved.push(name);
            }
        }
        // Neither is the original's owner hindered.
        let mut next = document(original, &image);
        next["description"] = "newer".into();
        let next = publish(&paul, &next).await.expect(201).json();
        market.until(next["_id"].as_str().unwrap(), "approved").await;
    }
    assert!(tried > 80, "only {tried}");
    assert!(approved.is_empty(), "of {tried} names these were approved: {approved:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_deleted_or_is_somebodys_comes_to_nobody_else() {
    let registry = Registry::start().await;
    let image = registry.push("a", "1").await.image;
    let market = Market::beside(&registry).await;
    let paul = market.token("paul", &["publish"], None).await;
    let mallory = market.token("mallory", &["publish"], None).await;
    let body = |value: &Value| Some(serde_json::to_vec(value).unwrap());
    let answer = market.send(Method::POST, ADDONS, Some(&paul), body(&document("probe", &image))).await;
    let id = answer.expect(201).json()["_id"].as_str().unwrap().to_owned();
    market.until(&id, "approved").await;
    let path = format!("{ADDONS}/{id}");
    market.send(Method::DELETE, &path, Some(&paul), None).await.expect(204);
    for name in ["probe", "Probe", "PROBE", "pr0be"] {
        let answer = market.send(Method::POST, ADDONS, Some(&mallory), body(&document(name, &image))).await;
        if answer.status == 201 {
            let id = answer.json()["_id"].as_str().unwrap().to_owned();
            market.until(&id, "verification_failed").await;
        } else {
            assert!([403, 409].contains(&answer.status), "{name}: {}", answer.text);
        }
    }
    // Neither by inviting oneself, nor by a token of one's own for that name.
    let owners = "/api/v1/marketplace/by-name/probe/owners";
    let invite = body(&json!({"account": "mallory"}));
    let answer = market.send(Method::POST, owners, Some(&mallory), invite).await;
    assert!([403, 404].contains(&answer.status), "{}", answer.text);
    let accept = "/api/v1/marketplace/invitations/probe/accept";
    market.send(Method::POST, accept, Some(&mallory), None).await.problem(404, "not-found");
    let answer = market.send(Method::POST, ADDONS, Some(&paul), body(&document("probe", &image))).await;
    answer.expect(201);
}
