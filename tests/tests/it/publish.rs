//! From a document to an approved release, through a real registry that fails in real ways.

use std::time::Duration;

use addon_client::{ReleaseStatus, ReviewRequest, Verdict};
use anyhow::Context;
use reqwest::Method;
use serde_json::json;
use system_tests::{Fault, Image, Proxy, Setup, Signal, demo_service, eventually, oakestra_example};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_release_is_verified_pinned_and_approved() {
    system_tests::run(async |world| {
        let (mine, other) =
            if cfg!(target_arch = "x86_64") { ("amd64", "arm64") } else { ("arm64", "amd64") };
        let index = [Image::demo("web", "1"), Image::demo("web", "1").architecture(other)];
        let index = world.registry.push_index(&index).await?;
        let single = world.registry.push(&Image::demo("db", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let document = json!({
            "name": "shop",
            "version": "1.2.3",
            "services": [demo_service("web", &index.reference), demo_service("db", &single.reference)]
        });
        let published = market.publish(&document).await?;
        let (release, took) = market.reaches(published.id, ReleaseStatus::Approved).await?;
        crate::measured("verified and approved", took);
        assert_eq!(release.version(), Some("1.2.3"));
        let pin =
            |name| release.pins.iter().find(|pin| pin.service_name == name).context("a pin for each service");
        assert_eq!(
            pin("web")?.digest.to_string(),
            index.digest,
            "the digest of the index, not of one platform"
        );
        let mut platforms = pin("web")?.platforms.clone();
        platforms.sort();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
        assert_eq!(pin("db")?.digest.to_string(), single.digest);
        assert_eq!(pin("db")?.platforms, [format!("linux/{mine}")]);
        assert!(pin("db")?.bytes > 100_000, "compressed bytes are recorded: {}", pin("db")?.bytes);
        let report = market.client.verification(release.id).await?.context("there is a report")?;
        assert_eq!(report.verdict, Verdict::Pass, "{report:?}");
        // The stored bytes are what the digest covers.
        let digest = release.digest.context("a release has a digest")?;
        market.client.checked_descriptor(release.id, digest).await?.context("there are canonical bytes")?;

        // A retry is safe: the same document is the same release, formatted as it may be.
        let again = market.publish(&document).await?;
        assert_eq!(again.id, release.id);
        Ok(())
    });
}

#[test]
fn the_example_of_oakestras_manual_publishes_as_it_stands() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("your-username/addon-name", "latest")).await?;
        let market = world.marketplace(Setup::default().open()).await?;
        // As its documentation does: with a slash at the end, and without any token.
        let answer =
            market.service.post("/api/v1/marketplace/addons/", &oakestra_example(&image.reference)).await?;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let release = answer.json();
        assert_eq!(release["status"], "under_review");
        let id = release["_id"].as_str().context("a release has an _id")?.to_owned();
        assert!(id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        let path = format!("/api/v1/marketplace/addons/{id}");
        let (release, _) = eventually("the release is approved", LIMIT, async || {
            let release = market.service.get(&path).await?.json();
            anyhow::ensure!(release["status"] == "approved", "{}", release["status"]);
            Ok(release)
        })
        .await?;
        // What Oakestra's monitor hands on as arguments has exactly these members.
        let volume = json!({"name": "myvolume", "driver": "local", "driver_opts": {}, "labels": {}});
        assert_eq!(release["volumes"], json!([volume]));
        let service = &release["services"][0];
        assert_eq!(service["image"], image.reference, "the image stays as published");
        assert_eq!((&service["labels"], &service["networks"]), (&json!({}), &json!([])));
        assert_eq!(service["ports"], json!({"10007": "10007"}));
        let listed = market.service.get("/api/v1/marketplace/addons?name=addon-name").await?.json();
        assert_eq!(listed[0]["_id"], id);
        let deleted = market.service.send(market.service.request(Method::DELETE, &path)).await?;
        assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
        assert_eq!(market.service.get(&path).await?.status, 404);
        Ok(())
    });
}

#[test]
fn an_image_that_does_not_exist_fails_its_release_until_it_does() {
    system_tests::run(async |world| {
        let there = world.registry.push(&Image::demo("there", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let document = json!({
            "name": "half",
            "version": "1.0.0",
            "services": [demo_service("a", &there.reference), demo_service("b", "127.0.0.1:5000/missing:1")]
        });
        let release = market.publish(&document).await?;
        let (release, _) = market.reaches(release.id, ReleaseStatus::VerificationFailed).await?;
        let report = market.client.verification(release.id).await?.context("there is a report")?;
        let failed: Vec<_> = report.checks.iter().filter(|check| check.verdict == Verdict::Fail).collect();
        assert_eq!(failed.len(), 1, "{report:?}");
        assert!(failed[0].message.contains("127.0.0.1:5000/missing:1"), "{}", failed[0].message);
        let listed =
            market.service.send(market.service.anonymous(Method::GET, "/api/v1/marketplace/addons")).await?;
        assert_eq!(listed.text.trim(), "[]", "only approved ones are listed");

        // Pushed, and the same document posted again: it goes back under review.
        world.registry.push(&Image::demo("missing", "1")).await?;
        let again = market.approved(&document).await?;
        assert_eq!(again.id, release.id);
        Ok(())
    });
}

#[test]
fn a_registry_in_trouble_is_no_verdict() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("web", "1")).await?;
        let proxy = Proxy::tcp(world.registry.address()).await?;
        let setup = Setup::default().registry(proxy.address()).set("verification.retry_base_ms", 100);
        let setup = setup.set("verification.retry_cap_ms", 400).set("verification.idle_timeout_ms", 1000);
        let market = world.marketplace(setup.set("verification.request_timeout_ms", 2000)).await?;
        let faults = [
            Fault::Status(500),
            Fault::Status(429),
            Fault::Garbage,
            Fault::Refuse,
            Fault::CutAfter(20),
            Fault::Hang,
        ];
        for (number, fault) in faults.into_iter().enumerate() {
            proxy.set(fault.clone());
            // Connections that are kept from before would go on as before.
            proxy.cut();
            let asked_before = proxy.taken();
            let document = json!({
                "name": format!("web{number}"),
                "services": [demo_service("web", &image.by_way_of(proxy.address()))]
            });
            let release = market.publish(&document).await?;
            let (report, _) = eventually(&format!("it is tried again after {fault:?}"), LIMIT, async || {
                let report = market.client.verification(release.id).await?.context("there is a report")?;
                anyhow::ensure!(
                    proxy.taken() > asked_before + 1,
                    "asked {} times",
                    proxy.taken() - asked_before
                );
                anyhow::ensure!(report.attempts >= 1, "{report:?}");
                Ok(report)
            })
            .await?;
            assert_eq!(report.status, ReleaseStatus::UnderReview, "{fault:?}: {report:?}");
            assert!(
                !report.checks.iter().any(|check| check.verdict == Verdict::Fail),
                "{fault:?}: {report:?}"
            );
            proxy.set(Fault::None);
            proxy.cut();
            let (_, took) = market.reaches(release.id, ReleaseStatus::Approved).await?;
            crate::measured(&format!("approved after {fault:?} was over"), took);
        }
        Ok(())
    });
}

#[test]
fn a_killed_marketplace_loses_no_review() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("web", "1")).await?;
        let proxy = Proxy::tcp(world.registry.address()).await?;
        let setup = Setup::default().registry(proxy.address()).set("verification.lease_ms", 2000);
        let mut market = world.marketplace(setup.set("verification.retry_base_ms", 100)).await?;
        let mut ids = Vec::new();
        proxy.set(Fault::Hang);
        for number in 0..5 {
            let service = demo_service("web", &image.by_way_of(proxy.address()));
            let asked = proxy.taken();
            ids.push(
                market.publish(&json!({"name": format!("web{number}"), "services": [service]})).await?.id,
            );
            eventually("its verification has begun", LIMIT, async || {
                anyhow::ensure!(proxy.taken() > asked, "the registry was not asked");
                Ok(())
            })
            .await?;
        }
        market.service.stop(Signal::Kill).await?;
        proxy.set(Fault::None);
        proxy.cut();
        market.service.start().await?;
        for id in ids {
            let (_, took) = market.reaches(id, ReleaseStatus::Approved).await?;
            crate::measured("approved after the restart", took);
        }
        Ok(())
    });
}

#[test]
fn what_may_do_much_waits_for_a_reviewer() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("spy", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let mut service = demo_service("spy", &image.reference);
        service["volumes"] = json!(["/var/run/docker.sock:/docker.sock"]);
        let release = market.publish(&json!({"name": "spy", "services": [service]})).await?;
        let (held, _) = eventually("its checks are done", LIMIT, async || {
            let report = market.client.verification(release.id).await?.context("there is a report")?;
            anyhow::ensure!(report.verdict == Verdict::Pass, "{report:?}");
            market.release(release.id).await
        })
        .await?;
        assert_eq!(held.status, ReleaseStatus::UnderReview);
        assert!(held.held.iter().any(|right| right.contains("docker-socket")), "{:?}", held.held);
        let other = ReviewRequest {
            digest: Some(format!("sha256:{}", "0".repeat(64)).parse()?),
            ..Default::default()
        };
        assert!(
            market.client.approve(release.id, &other).await.is_err(),
            "another digest than the one that was reviewed"
        );
        let request = ReviewRequest { digest: held.digest, reason: Some("it is a backup tool".into()) };
        let approved = market.client.approve(release.id, &request).await?;
        assert_eq!(approved.status, ReleaseStatus::Approved);
        Ok(())
    });
}

#[test]
fn a_clone_of_the_index_is_not_the_index() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("web", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let release = market
            .approved(&json!({"name": "web", "services": [demo_service("web", &image.reference)]}))
            .await?;
        // The tag moves after the review; what was approved stays what it was.
        let moved = world.registry.push(&Image::demo("web", "1").file("/new", "content")).await?;
        assert_ne!(moved.digest, image.digest);
        assert_eq!(market.release(release.id).await?.pins[0].digest.to_string(), image.digest);
        Ok(())
    });
}
