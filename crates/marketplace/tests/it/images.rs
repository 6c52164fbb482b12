//! Images as somebody pushes them who means ill: what an index lists, and what is made of it.

use addon_client::{Verdict, VerificationReport};
use addon_descriptor::Digest;
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::market::{ADDONS, Market, document};
use crate::registry::{OCI_INDEX, OCI_MANIFEST, Pushed, Registry, served};

fn config(architecture: &str) -> Value {
    json!({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers"}})
}

/// An entry for a platform.
async fn listed(registry: &Registry, architecture: &str, config: &Value) -> Value {
    let mut entry = registry.entry("a", config).await;
    entry["platform"] = json!({"os": "linux", "architecture": architecture});
    entry
}

/// Why the image fails.
async fn failed(market: &Market, pushed: &Pushed, name: &str) -> String {
    let id = market.published(&document(name, &pushed.image)).await;
    market.until(&id, "verification_failed").await["reason"].as_str().unwrap().to_owned()
}

fn platforms(release: &Value) -> Vec<&str> {
    release["pins"][0]["platforms"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// What the check of a release's image says.
async fn said(market: &Market, release: &Value) -> String {
    let report = market.report(release["_id"].as_str().unwrap()).await;
    report.checks.into_iter().find(|check| check.check == "image-exists").unwrap().message
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_host_can_be_is_left_out_and_said() {
    let registry = Registry::start().await;
    let long = "a".repeat(300_000);
    let mut entries = vec![listed(&registry, "amd64", &config("amd64")).await];
    for architecture in ["x\0y", "amd64\n<script>\u{1b}[31m", long.as_str()] {
        entries.push(listed(&registry, architecture, &config(architecture)).await);
    }
    let pushed = registry.push_listing("a", "1", &entries).await;
    let market = Market::beside(&registry).await;
    let release = market.approved(&document("probe", &pushed.image)).await;
    assert_eq!(platforms(&release), ["linux/amd64"]);
    let said = said(&market, &release).await;
    assert!(said.ends_with("; 3 of its entries are for unknown platforms and left out"), "{said}");
    let list = market.get(ADDONS).await.text;
    assert!(list.len() < 10_000, "{}", list.len());
    // An image of that alone is none.
    let only = registry.push_listing("a", "2", &entries[1..]).await;
    assert!(failed(&market, &only, "only").await.contains("without any image"));
    for (n, architecture) in ["x\0y", long.as_str()].into_iter().enumerate() {
        let mut hidden = registry.entry("a", &config(architecture)).await;
        hidden.as_object_mut().unwrap().remove("platform");
        let pushed = registry.push_listing("a", &format!("hidden-{n}"), &[hidden]).await;
        let reason = failed(&market, &pushed, &format!("hidden-{n}")).await;
        assert!(reason.contains("names no platform") && reason.len() < 1_000, "{reason}");
        assert!(!reason.contains('\0'), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_called_an_attestation_and_would_be_run_is_looked_at() {
    let registry = Registry::start().await;
    let mark = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let mut evil = config("amd64");
    evil["config"] = json!({"User": "root", "Entrypoint": ["/evil"]});
    let mut marked = listed(&registry, "amd64", &evil).await;
    marked["annotations"] = mark.clone();
    let shown = listed(&registry, "amd64", &config("amd64")).await;
    let digests = [marked["digest"].clone(), shown["digest"].clone()];
    let pushed = registry.push_listing("a", "1", &[marked.clone(), shown]).await;
    let market = Market::beside(&registry).await;
    let release = market.approved(&document("probe", &pushed.image)).await;
    let manifests = release["pins"][0]["manifests"].as_array().unwrap();
    let mut pinned: Vec<&Value> = manifests.iter().map(|manifest| &manifest["digest"]).collect();
    let mut expected: Vec<&Value> = digests.iter().collect();
    pinned.sort_by_key(ToString::to_string);
    expected.sort_by_key(ToString::to_string);
    assert_eq!(pinned, expected);
    let said = said(&market, &release).await;
    assert!(said.ends_with("more than one image for linux/amd64, of which an engine takes one"), "{said}");
    let report = market.report(release["_id"].as_str().unwrap()).await;
    let check = report.checks.iter().find(|check| check.check == "image-exists").unwrap();
    assert!(json!(check.evidence).to_string().contains("/evil"), "{check:?}");
    // Without a platform, an engine reads it in the configuration.
    marked.as_object_mut().unwrap().remove("platform");
    marked["artifactType"] = json!("application/vnd.example");
    let pushed = registry.push_listing("a", "2", &[marked]).await;
    let release = market.approved(&document("other", &pushed.image)).await;
    assert_eq!(platforms(&release), ["linux/amd64"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_image_beside_images_is_left_out() {
    let registry = Registry::start().await;
    let image = listed(&registry, "amd64", &config("amd64")).await;
    let empty = json!({"mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
        "digest": Digest::of(b"{}").to_string()});
    let artifact = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty, "layers": [],
        "artifactType": "application/vnd.amazon.soci.index.v2+json"});
    let artifact = artifact.to_string();
    let digest = Digest::of(artifact.as_bytes());
    registry
        .serve(&format!("/v2/a/manifests/{digest}"), served(OCI_MANIFEST, artifact.as_bytes()), 100)
        .await;
    let mut entry = json!({"mediaType": OCI_MANIFEST, "digest": digest.to_string(), "size": artifact.len()});
    let pushed = registry.push_listing("a", "1", &[image.clone(), entry.clone()]).await;
    let market = Market::beside(&registry).await;
    assert_eq!(platforms(&market.approved(&document("probe", &pushed.image)).await), ["linux/amd64"]);
    entry["platform"] = json!({"os": "linux", "architecture": "arm64"});
    let pushed = registry.push_listing("a", "2", &[image, entry]).await;
    assert!(failed(&market, &pushed, "other").await.contains("is no container image"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_often_is_asked_for_once() {
    let registry = Registry::start().await;
    let entry = listed(&registry, "amd64", &config("amd64")).await;
    let pushed = registry.push_listing("a", "1", &vec![entry; 256]).await;
    let market = Market::beside(&registry).await;
    let release = market.approved(&document("probe", &pushed.image)).await;
    assert_eq!(release["pins"][0]["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(registry.requests().await.len(), 3, "the index, the manifest, the configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_no_bomb() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let entries = |range: std::ops::Range<u32>, kind: &'static str| -> Vec<Value> {
        let digest = |n: u32| Digest::of(&n.to_be_bytes()).to_string();
        range.map(|n| json!({"mediaType": kind, "digest": digest(n), "size": 10})).collect()
    };
    let wide = registry.push_listing("a", "wide", &entries(0..65, OCI_MANIFEST)).await;
    assert!(failed(&market, &wide, "wide").await.contains("lists more than 64 images"));
    let deep = registry.push_listing("a", "deep", &entries(0..9, OCI_INDEX)).await;
    assert!(failed(&market, &deep, "deep").await.contains("more than 8 indexes"));
    assert_eq!(registry.requests().await.len(), 2, "neither was followed");
    // One inner index, listed again and again, of images listed again and again; and eight of many images each.
    let nested = async |range: std::ops::Range<u32>| {
        let inner =
            json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries(range, OCI_MANIFEST)});
        let inner = inner.to_string();
        let digest = Digest::of(inner.as_bytes());
        registry.serve(&format!("/v2/a/manifests/{digest}"), served(OCI_INDEX, inner.as_bytes()), 100).await;
        json!({"mediaType": OCI_INDEX, "digest": digest.to_string(), "size": inner.len()})
    };
    let mut bomb = Vec::new();
    for n in 0..8 {
        bomb.extend(vec![nested(n * 20..(n + 1) * 20).await; 32]);
    }
    let bomb = registry.push_listing("a", "bomb", &bomb).await;
    assert!(failed(&market, &bomb, "bomb").await.contains("lists more than 64 images"));
    assert_eq!(registry.requests().await.len(), 2 + 9, "each inner index once, and no image");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_engines_do_not_take_fails() {
    let registry = Registry::start().await;
    let market = Market::beside(&registry).await;
    let mut short = listed(&registry, "amd64", &config("amd64")).await;
    short["size"] = json!(1);
    let pushed = registry.push_listing("a", "short", &[short]).await;
    assert!(failed(&market, &pushed, "short").await.contains("with 1 bytes, and it has"));
    let image = crate::registry::manifest("amd64", 10);
    registry.serve("/v2/typed/manifests/1", served(OCI_INDEX, &image), 100).await;
    let id = market.published(&document("typed", &registry.image("typed:1"))).await;
    let reason = market.until(&id, "verification_failed").await["reason"].to_string();
    assert!(reason.contains("is served as application/vnd.oci.image.index"), "{reason}");
    // In an encoding that nobody asked for it may be anything.
    let packed = ResponseTemplate::new(200)
        .insert_header("content-encoding", "gzip")
        .set_body_raw([0x1f, 0x8b, 8, 0], OCI_MANIFEST);
    registry.serve("/v2/packed/manifests/1", packed, 100).await;
    let id = market.published(&document("packed", &registry.image("packed:1"))).await;
    let unanswered = |report: &VerificationReport| report.verdict == Verdict::NoAnswer;
    let waiting = market.until_report(&id, "no answer", unanswered).await;
    assert!(waiting.checks.iter().any(|check| check.message.contains("an encoding")), "{waiting:?}");
}
