//! From an approved release to a running addon, and what is refused on the way.

use std::time::Duration;

use addon_client::{
    ClientError, InstallRequest, InstallationStatus, ReleaseStatus, ReviewRequest, ServicePhase,
};
use anyhow::Context;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use system_tests::{Fault, Image, Proxy, Setup, World, demo_service, eventually, oakestra_example};

const LIMIT: Duration = Duration::from_secs(30);

/// The problem that a call was refused with: its status and code, and its detail.
fn refusal<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> (u16, String, String) {
    match answer {
        Err(ClientError::Problem { problem, .. }) => {
            (problem.status, problem.code.clone(), problem.detail.clone())
        }
        other => panic!("it should have been refused with a problem: {other:?}"),
    }
}

#[test]
fn the_whole_journey() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("hello", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let mut web = demo_service("web", &image.reference);
        web["ports"] = json!({"8080": "8080"});
        web["environment"] = json!({"MESSAGE": "Hello from the journey"});
        web["volumes"] = json!(["data:/data"]);
        web["files"] = json!([{"path": "/etc/hello.conf", "content": "greeting = 1\n"}]);
        web["depends_on"] = json!({"db": {"condition": "service_healthy"}});
        let document = json!({"name": "hello", "version": "1.0.0", "services": [web, demo_service("db", &image.reference)]});
        let release = market.approved(&document).await?;

        let begun = std::time::Instant::now();
        let asked = manager.install(&release).await?;
        assert_eq!(asked.status, InstallationStatus::Installing);
        let (active, _) = manager.reaches(asked.id, InstallationStatus::Active).await?;
        crate::measured("installed and active", begun.elapsed());
        assert_eq!((active.addon.as_str(), active.version.as_str()), ("hello", "1.0.0"));
        assert_eq!(active.marketplace_id, release.id);
        for service in &active.service_states {
            assert_eq!(service.state, ServicePhase::Running, "{service:?}");
            assert_eq!(service.image_digest.map(|digest| digest.to_string()).as_ref(), Some(&image.digest));
        }

        let page = world.fetch(8080, "/").await?;
        assert!(page.contains("Hello from the journey"), "{page}");
        assert_eq!(world.fetch(8080, "/fs?path=/etc/hello.conf").await?, "greeting = 1\n");
        world.fetch(8080, "/write?path=/data/kept&text=precious").await?;
        let db = world.running("hello-db").await?;
        assert_eq!(world.fetch(8080, "/fetch?url=http://db:8080/id").await?, format!("200 {}", &db[..12]));
        let inspect = world.container("hello-web").await?;
        let labels = inspect.config.and_then(|config| config.labels).unwrap_or_default();
        assert_eq!(labels.get("oak.installation.id"), Some(&asked.id.to_string()));
        assert_eq!(labels.get("oak.service.name").map(String::as_str), Some("web"));
        assert_eq!(inspect.image.as_ref(), Some(&image.config));
        let host = inspect.host_config.context("an inspected container has one")?;
        assert!(
            host.security_opt
                .unwrap_or_default()
                .iter()
                .any(|option| option.starts_with("no-new-privileges"))
        );
        assert_eq!(host.pids_limit, Some(4096));

        // Disable, enable, and go.
        let path = format!("/api/v1/addons/{}", asked.id);
        let patch = manager.service.request(Method::PATCH, &path).json(&json!({"status": "disabled"}));
        assert_eq!(manager.service.send(patch).await?.status, 200);
        manager.reaches(asked.id, InstallationStatus::Disabled).await?;
        assert_eq!(world.container_names().await?, [""; 0]);
        assert_eq!(world.network_names().await?, ["oakestra"], "the platform's network stays");
        assert_eq!(world.volume_names().await?, ["hello_data"]);
        let patch = manager.service.request(Method::PATCH, &path).json(&json!({"status": "active"}));
        assert_eq!(manager.service.send(patch).await?.status, 200);
        manager.reaches(asked.id, InstallationStatus::Active).await?;
        assert_eq!(world.fetch(8080, "/fs?path=/data/kept").await?, "precious");
        manager.uninstalled(world, &active, true).await?;
        assert!(manager.client.get(asked.id).await?.is_none());
        eventually("its volume is gone", LIMIT, async || {
            let volumes = world.volume_names().await?;
            anyhow::ensure!(volumes.is_empty(), "{volumes:?}");
            Ok(())
        })
        .await?;
        Ok(())
    });
}

#[test]
fn the_flow_of_oakestras_manual_works_with_its_own_json() {
    system_tests::run(async |world| {
        let image = world
            .registry
            .push(&Image::demo("your-username/addon-name", "latest").set("Env", json!(["PORT=10007"])))
            .await?;
        let market = world.marketplace(Setup::default().open()).await?;
        let manager = world.manager(Setup::default().open()).await?;
        let published = market
            .service
            .post("/api/v1/marketplace/addons", &oakestra_example(&image.reference))
            .await?
            .json();
        let id = published["_id"].as_str().context("a release has an _id")?.parse()?;
        market.reaches(id, ReleaseStatus::Approved).await?;

        let answer =
            manager.service.post("/api/v1/addons", &json!({"marketplace_id": id.to_string()})).await?;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let installation = answer.json();
        assert_eq!(
            (&installation["status"], &installation["name"]),
            (&json!("installing"), &json!("addon-name"))
        );
        let path = format!("/api/v1/addons/{}", installation["_id"].as_str().context("it has an _id")?);
        eventually("it is active", LIMIT, async || {
            let status = manager.service.get(&path).await?.json()["status"].clone();
            anyhow::ensure!(status == "active", "{status}");
            Ok(())
        })
        .await?;
        assert!(world.fetch(10007, "/").await?.contains("up and running"));
        world.running("addon-name-my_service").await?;
        assert_eq!(world.volume_names().await?, ["addon-name_myvolume"]);
        let listed = manager.service.get("/api/v1/addons?status=active").await?.json();
        assert_eq!(listed.as_array().map(Vec::len), Some(1));
        assert_eq!(manager.service.get("/api/v1/addons?status=failed").await?.text.trim(), "[]");
        let alias = manager.service.get("/api/addons").await?.json();
        assert_eq!(alias[0]["_id"], installation["_id"]);

        // Its uninstall: the first DELETE disables, the second removes.
        let delete = || manager.service.send(manager.service.request(Method::DELETE, &path));
        let first = delete().await?;
        assert_eq!(first.status, 200, "{}", first.text);
        assert!(
            ["disabling", "disabled"].contains(&first.json()["status"].as_str().unwrap_or_default()),
            "{}",
            first.text
        );
        eventually("it is disabled", LIMIT, async || {
            let status = manager.service.get(&path).await?.json()["status"].clone();
            anyhow::ensure!(status == "disabled", "{status}");
            Ok(())
        })
        .await?;
        let second = delete().await?;
        assert_eq!((second.status, second.text.as_str()), (204, ""));
        assert_eq!(manager.service.get(&path).await?.status, 404);
        assert_eq!(world.container_names().await?, [""; 0]);
        Ok(())
    });
}

#[test]
fn what_was_reviewed_is_what_runs() {
    system_tests::run(async |world| {
        let reviewed = world.registry.push(&Image::demo("web", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let release = market
            .approved(&json!({"name": "web", "services": [demo_service("web", &reviewed.reference)]}))
            .await?;
        let moved = world.registry.push(&Image::demo("web", "1").file("/evil", "x")).await?;
        assert_ne!(moved.digest, reviewed.digest);
        manager.installed(&release).await?;
        assert_eq!(
            world.container("web-web").await?.image,
            Some(reviewed.config),
            "not what the tag names now"
        );
        Ok(())
    });
}

#[test]
fn what_cannot_be_installed_is_refused_with_its_reason() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("web", "1")).await?;
        let setup = Setup::default().set("review.mode", "manual");
        let market = world.marketplace(setup).await?;
        let manager = world.manager(Setup::default()).await?;
        let service = demo_service("web", &image.reference);
        let publish = async |document: Value, approve: bool| {
            let release = market.publish(&document).await?;
            eventually("it is verified", LIMIT, async || {
                let report = market.client.verification(release.id).await?.context("there is a report")?;
                anyhow::ensure!(report.verdict == addon_client::Verdict::Pass, "{report:?}");
                Ok(())
            })
            .await?;
            if approve {
                let review = ReviewRequest { digest: release.digest, reason: None };
                market.client.approve(release.id, &review).await?;
            }
            anyhow::Ok(release)
        };
        let by_id = |id: &str| InstallRequest { marketplace_id: Some(id.to_owned()), ..Default::default() };

        let waiting = publish(json!({"name": "waiting", "services": [service]}), false).await?;
        let (status, code, detail) = refusal(manager.client.install(&by_id(&waiting.id.to_string())).await);
        assert_eq!((status, code.as_str()), (409, "release-not-approved"), "{detail}");
        let (status, _, _) = refusal(manager.client.install(&by_id("0123456789abcdef01234567")).await);
        assert_eq!(status, 404);
        let by_name = InstallRequest { addon: Some("nobody".into()), ..Default::default() };
        assert_eq!(refusal(manager.client.install(&by_name).await).0, 404);

        // Later parts of the system: refused by name of the field, not ignored.
        let mut asking = service.clone();
        asking["environment"] = json!({"GREETING": "${greeting}"});
        let parameters = json!([{"name": "greeting", "type": "string", "default": "hi"}]);
        let release =
            publish(json!({"name": "asking", "services": [asking], "parameters": parameters}), true).await?;
        let (status, code, detail) = refusal(manager.client.install(&by_id(&release.id.to_string())).await);
        assert_eq!((status, code.as_str()), (422, "not-supported"));
        assert!(detail.contains("parameters"), "{detail}");
        let mut taking = service.clone();
        taking["replaces"] = json!("scheduler");
        let release = publish(json!({"name": "taking", "services": [taking]}), true).await?;
        let (status, code, detail) = refusal(manager.client.install(&by_id(&release.id.to_string())).await);
        assert_eq!((status, code.as_str()), (422, "not-supported"));
        assert!(detail.contains("replaces"), "{detail}");

        // A dangerous right has to be named, whoever approved the release.
        let mut spy = service.clone();
        spy["volumes"] = json!(["/var/run/docker.sock:/docker.sock:ro"]);
        spy["cap_add"] = json!(["NET_ADMIN"]);
        let release = publish(json!({"name": "spy", "services": [spy]}), true).await?;
        let (status, code, detail) = refusal(manager.client.install(&by_id(&release.id.to_string())).await);
        assert_eq!((status, code.as_str()), (403, "rights-required"));
        assert!(detail.contains("docker-socket") && detail.contains("capability:NET_ADMIN"), "{detail}");
        let half =
            InstallRequest { rights: Some(vec!["docker-socket".into()]), ..by_id(&release.id.to_string()) };
        let (_, _, detail) = refusal(manager.client.install(&half).await);
        assert!(detail.contains("capability:NET_ADMIN") && !detail.contains("docker-socket"), "{detail}");
        assert_eq!(world.container_names().await?, [""; 0], "nothing was touched");
        assert!(manager.client.list(&Default::default()).await?.items.is_empty());
        let dangerous = vec!["docker-socket".into(), "capability:NET_ADMIN".into()];
        let whole = InstallRequest { rights: Some(dangerous), ..by_id(&release.id.to_string()) };
        let installation = manager.client.install(&whole).await?;
        manager.reaches(installation.id, InstallationStatus::Active).await?;
        Ok(())
    });
}

#[test]
fn eight_equal_installs_at_once_make_one() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("web", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let services = [demo_service("web", &image.reference), demo_service("db", &image.reference)];
        let release = market.approved(&json!({"name": "web", "services": services})).await?;
        let body = json!({"marketplace_id": release.id.to_string()});
        let answers = join_all((0..8).map(|_| manager.service.post("/api/v1/addons", &body))).await;
        let mut statuses = Vec::new();
        for answer in answers {
            let answer = answer?;
            statuses.push(answer.status);
            if answer.status != 201 {
                assert_eq!(answer.json()["code"], "already-installed", "{}", answer.text);
            }
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
        let listed = manager.client.list(&Default::default()).await?.items;
        assert_eq!(listed.len(), 1);
        manager.reaches(listed[0].id, InstallationStatus::Active).await?;
        assert_eq!(world.container_names().await?, ["web-db", "web-web"]);
        assert_eq!(world.network_names().await?, ["oakestra", "web_default"], "none is there twice");
        Ok(())
    });
}

#[test]
fn one_service_that_never_becomes_healthy_leaves_the_other_alone() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("web", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let mut sick = demo_service("sick", &image.reference);
        sick["command"] = json!(["serve", "--unhealthy"]);
        let document = json!({"name": "pair", "services": [demo_service("good", &image.reference), sick]});
        let installation = manager.install(&market.approved(&document).await?).await?;
        let (good, _) = eventually("the good one runs", LIMIT, async || {
            world.running("pair-good").await?;
            world.snapshot(&["pair-good"], &[], &[]).await
        })
        .await?;
        let (partial, took) = manager.reaches(installation.id, InstallationStatus::PartiallyActive).await?;
        crate::measured("said to be partially active", took);
        assert_eq!(partial.status_details.failed_services, ["sick"]);
        let (logs, _) = eventually("its logs are shown", LIMIT, async || {
            manager.installation(installation.id).await?.logs.context("no logs yet")
        })
        .await?;
        assert!(logs.contains("pair-sick") && logs.contains("serving on port 8080"), "{logs}");
        assert!(!logs.contains("pair-good"), "only of the one that failed: {logs}");

        // It is restarted, then with growing delays; the healthy one is not touched by any of it.
        eventually("the sick one was restarted and waits for its next attempt", LIMIT, async || {
            let installation = manager.installation(installation.id).await?;
            let sick = installation.service_states.into_iter().find(|service| service.service_name == "sick");
            let sick = sick.context("its state")?;
            let next = sick.waiting.as_ref().and_then(|waiting| waiting.next_attempt_at);
            anyhow::ensure!(sick.restarts >= 1 && next.is_some(), "{sick:?}");
            Ok(())
        })
        .await?;
        world.snapshot(&["pair-good"], &[], &[]).await?.assert_is(&good, "not touched");
        Ok(())
    });
}

#[test]
fn a_taken_port_is_a_conflict_that_names_its_holder() {
    system_tests::run(async |world| {
        let image = world.registry.push(&Image::demo("web", "1")).await?;
        let market = world.marketplace(Setup::default()).await?;
        let manager = world.manager(Setup::default()).await?;
        let document = |name: &str, port: &str| {
            let mut service = demo_service("web", &image.reference);
            service["ports"] = json!({"8080": port});
            json!({"name": name, "services": [service]})
        };
        // Another addon.
        let first = manager.installed(&market.approved(&document("first", "8080")).await?).await?;
        let second = market.approved(&document("second", "8080")).await?;
        let (status, _, detail) = refusal(manager.install(&second).await.map_err(client_error));
        assert!(status == 409 && detail.contains("8080") && detail.contains("first"), "{detail}");

        // A container that is not ours, on one address of those that ours would take.
        foreign_container(world, &image.reference, "stranger", 9090).await?;
        let third = market.approved(&document("third", "9090")).await?;
        let (status, _, detail) = refusal(manager.install(&third).await.map_err(client_error));
        assert!(status == 409 && detail.contains("9090") && detail.contains("stranger"), "{detail}");

        // A process of the host.
        let listener = std::net::TcpListener::bind("127.0.0.1:7070")?;
        let fourth = market.approved(&document("fourth", "7070")).await?;
        let (status, _, detail) = refusal(manager.install(&fourth).await.map_err(client_error));
        assert!(status == 409 && detail.contains("7070"), "{detail}");
        drop(listener);
        manager.installed(&fourth).await?;

        // A port that is chosen is a free one, and stays.
        let chosen = manager.installed(&market.approved(&document("chosen", "")).await?).await?;
        let port = chosen.service_states[0].ports[0].host_port;
        assert!((20000..30000).contains(&port), "{port}");
        world.fetch(port, "/").await?;
        manager.uninstalled(world, &first, true).await?;
        manager.installed(&second).await?;
        assert_eq!(world.container_names().await?, ["chosen-web", "fourth-web", "second-web", "stranger"]);
        Ok(())
    });
}

fn client_error(error: anyhow::Error) -> ClientError {
    error.downcast().expect("a client's error")
}

pub(crate) async fn foreign_container(
    world: &World,
    image: &str,
    name: &str,
    port: u16,
) -> anyhow::Result<()> {
    use bollard::models::{ContainerCreateBody, HostConfig, PortBinding};
    use bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};
    let binding = PortBinding { host_ip: Some("127.0.0.1".into()), host_port: Some(port.to_string()) };
    let host_config = HostConfig {
        port_bindings: Some([("8080/tcp".to_owned(), Some(vec![binding]))].into()),
        ..Default::default()
    };
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        host_config: Some(host_config),
        exposed_ports: Some(vec!["8080/tcp".into()]),
        ..Default::default()
    };
    crate::world::pull(world, image).await?;
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    world.docker.create_container(Some(options), body).await?;
    world.docker.start_container(name, None::<StartContainerOptions>).await?;
    Ok(())
}

#[test]
fn a_pull_shows_its_bytes_and_outlives_a_registry_in_trouble() {
    system_tests::run(async |world| {
        // Incompressible enough to be slow through the proxy.
        let noise: Vec<u8> =
            (0_u32..2_000_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let image = world.registry.push(&Image::demo("big", "1").file("/noise", noise)).await?;
        let proxy = Proxy::tcp(world.registry.address()).await?;
        let market = world.marketplace(Setup::default().registry(proxy.address())).await?;
        let manager = world.manager(Setup::default().registry(proxy.address())).await?;
        let document =
            json!({"name": "big", "services": [demo_service("web", &image.by_way_of(proxy.address()))]});
        let release = market.approved(&document).await?;
        proxy.set(Fault::Status(500));
        let installation = manager.install(&release).await?;
        let (waiting, _) = eventually("it waits for the registry", LIMIT, async || {
            let installation = manager.installation(installation.id).await?;
            let waiting = installation.service_states.first().and_then(|service| service.waiting.clone());
            waiting.with_context(|| format!("{:?}", installation.service_states))
        })
        .await?;
        assert!(!waiting.message.is_empty());
        proxy.set(Fault::Slow { piece: 32 << 10, pause: Duration::from_millis(20) });
        eventually("bytes are shown", LIMIT, async || {
            let progress =
                manager.installation(installation.id).await?.progress.context("no progress yet")?;
            anyhow::ensure!(
                progress.bytes_done > 0 && progress.bytes_done < progress.bytes_total,
                "{progress:?}"
            );
            Ok(())
        })
        .await?;
        proxy.set(Fault::None);
        manager.reaches(installation.id, InstallationStatus::Active).await?;
        Ok(())
    });
}
