//! Installing, disabling, enabling, uninstalling, and what is in the way of it.

use std::collections::BTreeMap;

use addon_client::{InstallationStatus, ServicePhase};
use service_kit::audit::Actor;

use super::bench::{Bench, MANAGER, after, job, revision, service, with_check, with_volume};
use crate::domain::specification::{
    DependencyCondition, FileSpecification, NetworkAttachment, NetworkMode, Protocol, PublishedPort,
    RestartPolicy,
};
use crate::reconciler::state::NONCE_LABEL;
use crate::runtime::{ContainerRuntime as _, EventMessage, Health, ListedPort, RuntimeError};

fn published(port: u16) -> PublishedPort {
    PublishedPort {
        container_port: 80,
        protocol: Protocol::Tcp,
        host_ip: None,
        host_port: port,
        chosen: false,
    }
}

fn listed(port: u16) -> ListedPort {
    ListedPort { host_ip: None, host_port: port, container_port: 80, protocol: Protocol::Tcp }
}

fn on(networks: &[&str], courtesy: Option<&str>) -> NetworkMode {
    let attachment = |network: &&str| NetworkAttachment {
        network: (*network).to_owned(),
        aliases: vec!["web".into()],
        courtesy_alias: courtesy.map(str::to_owned),
        ipv4_address: None,
        ipv6_address: None,
    };
    NetworkMode::Networks(networks.iter().map(attachment).collect())
}

#[tokio::test]
async fn an_installation_becomes_active_and_then_costs_nothing() {
    let mut bench = Bench::new().await;
    let web = with_volume(service("shop", "web"), "shop_data", "/data");
    let id = bench.install("shop", revision(vec![web, service("shop", "db")])).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    let made = bench.container("shop-web");
    assert_eq!(made.restart, Some(RestartPolicy::Always));
    assert_eq!(made.listed.labels["oak.manager.id"], MANAGER);
    assert_eq!(made.listed.labels["oak.addon"], "shop");
    assert_eq!(made.listed.labels["com.docker.compose.project"], "addon-shop");
    assert!(!made.listed.labels.contains_key("oak.addon.id"));
    let listing = bench.runtime.snapshot();
    assert_eq!((listing.containers.len(), listing.networks.len(), listing.volumes.len()), (2, 1, 1));
    assert_eq!(bench.runtime.tags().len(), 2);
    let before = bench.runtime.calls().len();
    bench.settle().await;
    assert_eq!(bench.runtime.calls().len(), before, "nothing woke it");
    bench.resync().await;
    let asked = bench.calls_since(before);
    assert!(asked.len() <= 2 && asked.iter().all(|call| call == "list" || call == "inspect"), "{asked:?}");
    assert_eq!(bench.reconciler.progress(id), None);
}

#[tokio::test]
async fn each_container_is_inspected_within_ten_minutes_and_no_more() {
    let mut bench = Bench::new().await;
    let services = (0..20).map(|n| service("many", &format!("s{n}"))).collect();
    bench.install("many", revision(services)).await;
    let before = bench.runtime.calls().len();
    for _ in 0..10 {
        bench.clock.advance(std::time::Duration::from_secs(60));
        bench.resync().await;
    }
    let calls = bench.runtime.calls().split_off(before);
    let inspected: std::collections::BTreeSet<_> =
        calls.iter().filter(|call| call.operation == "inspect").map(|call| &call.object).collect();
    assert_eq!(inspected.len(), 20);
    assert_eq!(calls.iter().filter(|call| call.operation == "inspect").count(), 20);
    assert_eq!(calls.iter().filter(|call| call.operation == "list").count(), 10);
}

#[tokio::test]
async fn one_listing_serves_all_installations_of_a_resync() {
    let mut bench = Bench::new().await;
    for n in 0..10 {
        let name = format!("addon{n}");
        bench.install(&name, revision(vec![service(&name, "web")])).await;
    }
    let before = bench.runtime.calls().len();
    bench.resync().await;
    assert_eq!(bench.calls_since(before).iter().filter(|call| *call == "list").count(), 1);
}

#[tokio::test]
async fn a_service_starts_when_what_it_depends_on_is_healthy() {
    let mut bench = Bench::new().await;
    bench.runtime.set_health_at_start(Health::Starting);
    let db = with_check(service("shop", "db"));
    let web = after(service("shop", "web"), "db", DependencyCondition::ServiceHealthy);
    let id = bench.install("shop", revision(vec![db, web])).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Installing);
    assert_eq!(bench.phase(id, "db").await, ServicePhase::Starting);
    let waits = bench.report(id, "web").await;
    assert_eq!(waits.phase, ServicePhase::Created);
    assert_eq!(waits.waiting.unwrap().message, "waits for db to be healthy");
    bench.runtime.set_health(&bench.runtime.id_of("shop-db"), Health::Healthy);
    bench.settle().await;
    assert!(bench.is_running("shop-web"));
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn one_that_never_becomes_healthy_leaves_the_healthy_one_alone() {
    let mut bench = Bench::new().await;
    bench.runtime.set_health_at_start(Health::Starting);
    let id = bench
        .install("shop", revision(vec![with_check(service("shop", "bad")), service("shop", "good")]))
        .await;
    let good = bench.runtime.id_of("shop-good");
    bench.runtime.set_health(&bench.runtime.id_of("shop-bad"), Health::Unhealthy);
    bench.settle().await;
    bench.runtime.set_health(&bench.runtime.id_of("shop-bad"), Health::Unhealthy);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::PartiallyActive);
    let bad = bench.report(id, "bad").await;
    assert_eq!(bad.phase, ServicePhase::Failed);
    assert!(bad.logs.unwrap().contains("shop-bad"));
    assert!(bad.waiting.unwrap().next_attempt_at.is_some());
    assert_eq!(bench.runtime.id_of("shop-good"), good);
}

#[tokio::test]
async fn files_are_written_before_the_container_is_made() {
    let mut bench = Bench::new().await;
    let mut web = service("shop", "web");
    web.files.push(FileSpecification {
        path: "/etc/web.conf".into(),
        content: "listen 80".into(),
        mode: 0o444,
    });
    let id = bench.install("shop", revision(vec![web])).await;
    let made = bench.container("shop-web");
    let source = made
        .listed
        .mounts
        .iter()
        .find(|mount| mount.target == "/etc/web.conf")
        .unwrap()
        .host_path
        .clone()
        .unwrap();
    assert_eq!(std::fs::read_to_string(&source).unwrap(), "listen 80");
    bench.uninstall(id, false).await;
    bench.settle().await;
    assert!(!std::path::Path::new(&source).exists());
}

#[tokio::test]
async fn volumes_of_an_image_get_names_of_ours_and_survive_the_container() {
    let mut bench = Bench::new().await;
    let web = service("shop", "web");
    bench.runtime.publish(&web.image.digest, &["/var/lib/web", "/cache/"], false);
    let id = bench.install("shop", revision(vec![with_volume(web, "shop_cache", "/cache")])).await;
    let names: Vec<String> = bench.runtime.snapshot().volumes.into_iter().map(|volume| volume.name).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let ours = names.iter().find(|name| name.starts_with("shop_web-var-lib-web-")).unwrap().clone();
    bench.runtime.remove_by_hand(&bench.runtime.id_of("shop-web"));
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
    let again = bench.container("shop-web").listed.mounts;
    assert!(again.iter().any(|mount| mount.volume.as_ref() == Some(&ours)));
    assert_eq!(bench.runtime.snapshot().volumes.len(), 2);
}

#[tokio::test]
async fn the_platforms_network_is_made_once_and_never_removed() {
    let mut bench = Bench::new().await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        let mut web = service(name, "web");
        web.network = on(&["platform"], None);
        ids.push(bench.want(name, revision(vec![web])).await);
    }
    let passes = ids.iter().map(|id| bench.reconciler.shared.pass(*id));
    futures_util::future::join_all(passes).await.into_iter().for_each(|pass| assert!(pass.is_ok()));
    assert_eq!(bench.runtime.snapshot().networks.len(), 1);
    let labels = bench.runtime.snapshot().networks[0].labels.clone();
    assert_eq!(
        labels.keys().collect::<Vec<_>>(),
        ["oak.create", "oak.manager.id"],
        "it is no installation's"
    );
    for id in &ids {
        bench.reconciler.shared.wakes.release(*id, None);
        bench.uninstall(*id, false).await;
    }
    bench.settle().await;
    assert_eq!(bench.runtime.snapshot().containers.len(), 0);
    assert_eq!(bench.runtime.snapshot().networks.len(), 1);
}

#[tokio::test]
async fn disabling_keeps_volumes_and_enabling_brings_everything_back() {
    let mut bench = Bench::new().await;
    let db = with_volume(service("shop", "db"), "shop_data", "/data");
    let web = after(service("shop", "web"), "db", DependencyCondition::ServiceStarted);
    let id = bench.install("shop", revision(vec![db, web])).await;
    let before = bench.runtime.calls().len();
    bench.disable(id).await;
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Disabled);
    let listing = bench.runtime.snapshot();
    assert_eq!((listing.containers.len(), listing.networks.len(), listing.volumes.len()), (0, 0, 1));
    // The policy is `no` before anything is stopped, and dependents go first.
    let asked = bench.calls_since(before);
    let first = |name: &str| asked.iter().position(|call| call == name).unwrap();
    assert!(first("update") < first("stop") && first("stop") < first("remove_container"), "{asked:?}");
    bench.enable(id).await;
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    assert_eq!(bench.container("shop-db").restart, Some(RestartPolicy::Always));
}

#[tokio::test]
async fn dependents_are_stopped_before_what_they_depend_on() {
    let mut bench = Bench::new().await;
    let web = after(service("shop", "web"), "db", DependencyCondition::ServiceStarted);
    let id = bench.install("shop", revision(vec![service("shop", "db"), web])).await;
    let (db, web) = (bench.runtime.id_of("shop-db"), bench.runtime.id_of("shop-web"));
    let before = bench.runtime.calls().len();
    bench.disable(id).await;
    bench.settle().await;
    let stops: Vec<String> = bench
        .runtime
        .calls()
        .split_off(before)
        .into_iter()
        .filter(|call| call.operation == "stop")
        .map(|call| call.object)
        .collect();
    assert_eq!(stops, [web, db]);
}

#[tokio::test]
async fn disabling_that_is_called_off_gives_the_policy_back() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "web")])).await;
    bench.disable(id).await;
    // The policy is set, and then the engine goes away.
    let next = bench.runtime.calls().len();
    let update = (next..next + 20).find(|_| true).unwrap();
    for call in update + 2..update + 40 {
        bench.runtime.fault(call, crate::runtime::memory::Fault::Unreachable);
    }
    bench.settle().await;
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::No));
    bench.runtime.no_faults();
    bench.enable(id).await;
    bench.converge().await;
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::Always));
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn uninstalling_keeps_volumes_for_the_next_one_unless_told_otherwise() {
    for delete in [false, true] {
        let mut bench = Bench::new().await;
        let id = bench
            .install("shop", revision(vec![with_volume(service("shop", "db"), "shop_data", "/data")]))
            .await;
        bench.uninstall(id, delete).await;
        bench.settle().await;
        assert!(bench.storage.desired_state(id).await.unwrap().is_none());
        let listing = bench.runtime.snapshot();
        assert_eq!((listing.containers.len(), listing.networks.len()), (0, 0));
        assert_eq!(listing.volumes.len(), usize::from(!delete));
        assert!(bench.runtime.tags().is_empty());
        let kept = bench.storage.kept_volumes().await.unwrap();
        assert_eq!(kept.len(), usize::from(!delete));
        if let Some(kept) = kept.first() {
            assert_eq!(kept.nonce, listing.volumes[0].labels[NONCE_LABEL]);
        }
    }
}

#[tokio::test]
async fn a_foreign_container_of_that_name_is_named_and_left_alone() {
    let mut bench = Bench::new().await;
    let foreign = bench.runtime.foreign_container("shop-web", &[("oak.manager.id", MANAGER)], &[]);
    let id = bench.install("shop", revision(vec![service("shop", "web"), service("shop", "db")])).await;
    let web = bench.report(id, "web").await;
    assert_eq!(web.phase, ServicePhase::Failed);
    let waiting = web.waiting.unwrap();
    assert_eq!(waiting.reason, "conflict");
    assert!(waiting.message.contains(&foreign[..12]), "{}", waiting.message);
    assert!(bench.is_running("shop-db"));
    assert_eq!(bench.status(id).await, InstallationStatus::PartiallyActive);
    // It goes, and the installation goes on at once.
    bench.runtime.remove_by_hand(&foreign);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn a_port_that_somebody_has_is_a_conflict_that_names_the_holder_until_it_is_free() {
    let mut bench = Bench::new().await;
    let foreign = bench.runtime.foreign_container("proxy", &[], &[listed(8080)]);
    let mut web = service("shop", "web");
    web.ports.push(published(8080));
    let id = bench.install("shop", revision(vec![web])).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Failed);
    let message = bench.report(id, "web").await.waiting.unwrap().message;
    assert!(message.starts_with("host port 8080/tcp is taken by container proxy"), "{message}");
    assert!(!bench.runtime.calls().iter().any(|call| call.operation == "create_container"));
    bench.runtime.stop_by_hand(&foreign);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn a_port_that_is_taken_at_start_is_tried_again_slowly() {
    let mut bench = Bench::new().await;
    let mut web = service("shop", "web");
    web.ports.push(published(8080));
    let id = bench.want("shop", revision(vec![web])).await;
    let hidden = bench.runtime.foreign_container("hidden", &[], &[]);
    bench.runtime.hidden_port(&hidden, listed(8080));
    bench.reconciler.wake(id);
    bench.settle().await;
    let web = bench.report(id, "web").await;
    assert_eq!(
        (web.phase, web.waiting.clone().unwrap().reason.as_str()),
        (ServicePhase::Failed, "change-needed")
    );
    assert!(web.waiting.unwrap().message.contains("port is already allocated"));
    bench.runtime.remove_by_hand(&hidden);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn networks_and_volumes_of_others_are_never_taken_for_ours() {
    let mut bench = Bench::new().await;
    let network = bench
        .runtime
        .foreign_network("shop_default", &[("oak.manager.id", MANAGER), ("oak.create", "guess")]);
    bench.runtime.foreign_volume("other_data", &[("oak.create", "guess")]);
    let shop = bench.install("shop", revision(vec![service("shop", "web")])).await;
    let other = bench
        .install("other", revision(vec![with_volume(service("other", "db"), "other_data", "/data")]))
        .await;
    for (id, service, what) in [(shop, "web", "network"), (other, "db", "volume")] {
        assert_eq!(bench.status(id).await, InstallationStatus::Failed);
        let waiting = bench.report(id, service).await.waiting.unwrap();
        assert_eq!(waiting.reason, "conflict");
        assert!(waiting.message.contains(what), "{}", waiting.message);
        bench.uninstall(id, true).await;
    }
    bench.settle().await;
    let listing = bench.runtime.snapshot();
    assert!(listing.networks.iter().any(|found| found.id == network));
    assert!(listing.volumes.iter().any(|found| found.name == "other_data"));
}

#[tokio::test]
async fn an_external_network_is_waited_for_and_never_made() {
    let mut bench = Bench::new().await;
    let mut web = service("shop", "web");
    web.network = on(&["external-lan"], None);
    let id = bench.install("shop", revision(vec![web])).await;
    assert_eq!(bench.report(id, "web").await.waiting.unwrap().reason, "change-needed");
    let network = bench.runtime.foreign_network("external-lan", &[]);
    bench.resync().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    assert!(bench.container("shop-web").listed.networks.contains_key(&network));
}

#[tokio::test]
async fn the_first_has_the_courtesy_alias_and_the_second_says_that_it_has_not() {
    let mut bench = Bench::new().await;
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        let mut web = service(name, "web");
        web.network = on(&["platform"], Some("root_web"));
        ids.push(bench.install(name, revision(vec![web])).await);
    }
    assert!(bench.container("one-web").aliases["platform"].contains("root_web"));
    assert!(!bench.container("two-web").aliases["platform"].contains("root_web"));
    let conditions = bench.desired(ids[1]).await.installation.conditions;
    assert_eq!(
        conditions.iter().map(|condition| condition.kind.as_str()).collect::<Vec<_>>(),
        ["alias_taken"]
    );
    assert!(bench.desired(ids[0]).await.installation.conditions.is_empty());
    assert_eq!(bench.status(ids[1]).await, InstallationStatus::Active);
}

#[tokio::test]
async fn that_an_alias_is_taken_is_said_as_long_as_it_is() {
    let mut bench = Bench::new().await;
    let mut ids = Vec::new();
    for name in ["one", "two"] {
        let mut web = service(name, "web");
        web.network = on(&["platform"], Some("root_web"));
        ids.push(bench.install(name, revision(vec![web])).await);
    }
    let told = async |bench: &Bench, id| {
        let conditions = bench.desired(id).await.installation.conditions;
        conditions.iter().filter(|condition| condition.kind == "alias_taken").count()
    };
    assert_eq!(told(&bench, ids[1]).await, 1);
    bench.uninstall(ids[0], true).await;
    bench.settle().await;
    bench.resync().await;
    assert_eq!(told(&bench, ids[1]).await, 0, "nobody has it any more");

    // A stranger takes the name, as an alias, which no listing tells; then ours is made anew.
    let stranger = bench.runtime.foreign_container("stranger", &[], &[]);
    let listing = bench.runtime.snapshot();
    let network = listing.networks.iter().find(|network| network.name == "platform").unwrap();
    bench.runtime.connect_by_hand(&stranger, &network.id, &["root_web"]);
    bench.resync().await;
    bench.runtime.remove_by_hand(&bench.runtime.id_of("two-web"));
    bench.settle().await;
    bench.resync().await;
    assert!(!bench.container("two-web").aliases["platform"].contains("root_web"), "two would answer");
    assert_eq!(told(&bench, ids[1]).await, 1);
    bench.runtime.remove_by_hand(&stranger);
    bench.resync().await;
    bench.settle().await;
    assert_eq!(told(&bench, ids[1]).await, 0);
    bench.runtime.remove_by_hand(&bench.runtime.id_of("two-web"));
    bench.settle().await;
    bench.resync().await;
    assert!(bench.container("two-web").aliases["platform"].contains("root_web"));
}

#[tokio::test]
async fn a_courtesy_alias_is_given_back_when_another_asks_for_the_name() {
    let mut bench = Bench::new().await;
    let with_courtesy = |name: &str| {
        let mut web = service(name, "web");
        web.network = on(&["platform"], Some("root_web"));
        revision(vec![web])
    };
    let one = bench.install("one", with_courtesy("one")).await;
    let container = bench.runtime.id_of("one-web");
    let two = bench.want("two", revision(vec![service("two", "db")])).await;
    sqlx::query("INSERT INTO claims (kind, value, installation_id, detail) VALUES ('alias', 'platform/root_web', $1, '')")
        .bind(two.to_string())
        .execute(bench.storage.writer())
        .await
        .unwrap();
    bench.resync().await;
    assert!(!bench.container("one-web").aliases["platform"].contains("root_web"));
    assert_eq!(bench.runtime.id_of("one-web"), container, "mended in place");
    let state = bench.desired(one).await;
    assert!(state.containers[0].asked.courtesy.is_empty());
    assert_eq!(state.installation.conditions[0].kind, "alias_taken");
    let before = bench.runtime.calls().len();
    bench.resync().await;
    assert!(!bench.calls_since(before).contains(&"connect".to_owned()));
    // Who comes later does not get it either.
    bench.install("three", with_courtesy("three")).await;
    assert!(!bench.container("three-web").aliases["platform"].contains("root_web"));
}

#[tokio::test]
async fn an_image_that_does_not_exist_fails_for_good_until_somebody_asks_again() {
    let mut bench = Bench::new().await;
    let web = service("shop", "web");
    let digest = web.image.digest.clone();
    let id = bench.want_unpublished("shop", revision(vec![web])).await;
    bench.reconciler.wake(id);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Failed);
    let waiting = bench.report(id, "web").await.waiting.unwrap();
    assert_eq!((waiting.reason.as_str(), waiting.next_attempt_at), ("never", None));
    assert!(waiting.message.contains("manifest unknown"));
    bench.runtime.publish(&digest, &[], false);
    bench.wait(10_000).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Failed);
    bench.request_restart(id).await;
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn a_registry_that_recovers_is_tried_again_with_growing_delays_and_its_wish_is_respected() {
    let mut bench = Bench::new().await;
    let web = service("shop", "web");
    let digest = web.image.digest.clone();
    let id = bench.want_unpublished("shop", revision(vec![web])).await;
    let busy = RuntimeError::Retry {
        operation: "pull".into(),
        message: "429".into(),
        after: Some(std::time::Duration::from_secs(90)),
        engine_unreachable: false,
    };
    bench.runtime.unpublish(&digest, busy);
    bench.reconciler.wake(id);
    bench.settle().await;
    let waiting = bench.report(id, "web").await.waiting.unwrap();
    assert_eq!(waiting.next_attempt_at, Some(bench.now() + std::time::Duration::from_secs(90)));
    bench.runtime.publish(&digest, &[], false);
    bench.wait(89).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Failed);
    bench.wait(1).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn what_the_engine_made_otherwise_is_removed_and_what_differs_is_said() {
    let mut bench = Bench::new().await;
    bench.runtime.spoil_creates(Some("its memory limit is 1, not 2"));
    let id = bench.install("shop", revision(vec![service("shop", "web")])).await;
    assert!(bench.runtime.by_name("shop-web").is_none());
    let web = bench.report(id, "web").await;
    assert_eq!(web.phase, ServicePhase::Failed);
    assert!(web.waiting.unwrap().message.contains("its memory limit is 1, not 2"));
    bench.runtime.spoil_creates(None);
    bench.wait(301).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn an_image_that_was_pruned_or_replaced_is_pulled_again() {
    let mut bench = Bench::new().await;
    let web = service("shop", "web");
    let digest = web.image.digest.clone();
    let id = bench.install("shop", revision(vec![web])).await;
    let tag = bench.runtime.tags().into_iter().next().unwrap();
    // Pruned while the container is gone.
    bench.runtime.remove_image(&digest);
    bench.runtime.remove_by_hand(&bench.runtime.id_of("shop-web"));
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    // Our tag on somebody else's image.
    bench.runtime.publish("sha256:evil", &[], false);
    bench.runtime.move_tag(&tag, "sha256:evil");
    bench.runtime.remove_by_hand(&bench.runtime.id_of("shop-web"));
    bench.settle().await;
    bench.wait(400).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    let image = bench.container("shop-web").listed.image_id;
    assert_eq!(image, "sha256:id-of-shop-web");
}

#[tokio::test]
async fn nothing_is_concluded_while_the_engine_does_not_answer() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "web")])).await;
    bench.runtime.set_away(true);
    let before = bench.desired(id).await;
    assert!(!bench.resync().await);
    bench.reconciler.wake(id);
    assert!(!bench.settle().await);
    assert_eq!(bench.reconciler.engine_unreachable(), Some(bench.now()));
    assert_eq!(bench.desired(id).await, before);
    bench.runtime.set_away(false);
    bench.wait(2).await;
    assert_eq!(bench.reconciler.engine_unreachable(), None);
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn a_restart_that_was_asked_for_restarts_everything_once_in_order() {
    let mut bench = Bench::new().await;
    let web = after(service("shop", "web"), "db", DependencyCondition::ServiceStarted);
    let id = bench.install("shop", revision(vec![service("shop", "db"), web])).await;
    let (db, web) = (bench.runtime.id_of("shop-db"), bench.runtime.id_of("shop-web"));
    let before = bench.runtime.calls().len();
    bench.clock.advance(std::time::Duration::from_secs(1));
    bench.request_restart(id).await;
    bench.settle().await;
    let moved: Vec<(String, String)> = bench
        .runtime
        .calls()
        .split_off(before)
        .into_iter()
        .filter(|call| matches!(call.operation, "stop" | "start"))
        .map(|call| (call.operation.to_owned(), call.object))
        .collect();
    let expected = [("stop", &web), ("stop", &db), ("start", &db), ("start", &web)];
    assert_eq!(moved, expected.map(|(operation, id)| (operation.to_owned(), id.clone())));
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    assert_eq!(bench.report(id, "web").await.restarts, 1, "whoever asked for it");
}

#[tokio::test]
async fn the_why_log_says_what_was_done_because_of_what_and_how_it_went() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "web")])).await;
    bench.runtime.kill(&bench.runtime.id_of("shop-web"));
    bench.settle().await;
    let log = bench.storage.events(id, 100).await.unwrap();
    assert_eq!(
        (log[0].operation.as_str(), log[0].cause.as_str(), log[0].result.as_str()),
        ("start web", "somebody stopped it (it exited with 137)", "done")
    );
    assert!(log.iter().any(|event| event.operation == "pull the image of web"));
    assert!(log.iter().any(|event| event.operation == "create network shop_default"));
}

#[tokio::test]
async fn a_lost_database_adopts_what_is_exactly_what_is_meant() {
    let mut bench = Bench::new().await;
    let specification =
        revision(vec![with_volume(service("shop", "db"), "shop_data", "/data"), service("shop", "web")]);
    bench.install("shop", specification.clone()).await;
    let before: BTreeMap<String, String> =
        bench.runtime.snapshot().containers.into_iter().map(|found| (found.name, found.id)).collect();
    // The backup knows the installation, and nothing of what was made for it.
    for table in ["containers", "networks", "volumes", "images", "attempts"] {
        sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table}")))
            .execute(bench.storage.writer())
            .await
            .unwrap();
    }
    bench.restart_manager().await;
    bench.resync().await;
    let after: BTreeMap<String, String> =
        bench.runtime.snapshot().containers.into_iter().map(|found| (found.name, found.id)).collect();
    assert_eq!(before, after, "adopted untouched");
    let id = bench.storage.installation_ids().await.unwrap()[0];
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    bench.uninstall(id, true).await;
    bench.settle().await;
    let listing = bench.runtime.snapshot();
    assert_eq!((listing.containers.len(), listing.networks.len(), listing.volumes.len()), (0, 0, 0));
}

#[tokio::test]
async fn an_older_backup_adopts_what_was_made_since() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "web"), service("shop", "db")])).await;
    let backup = bench.folder.path().join("backup.sqlite").display().to_string();
    sqlx::query("VACUUM INTO $1").bind(&backup).execute(bench.storage.writer()).await.unwrap();
    let old = bench.runtime.id_of("shop-web");
    bench.runtime.remove_by_hand(&old);
    let network = bench.runtime.snapshot().networks[0].id.clone();
    bench.runtime.remove_network_by_hand(&network);
    bench.settle().await;
    bench.resync().await;
    let made = |bench: &Bench| {
        let listing = bench.runtime.snapshot();
        let networks = listing.networks.into_iter().map(|network| (network.name, network.id));
        let containers = listing.containers.into_iter().map(|container| (container.name, container.id));
        networks.chain(containers).collect::<BTreeMap<String, String>>()
    };
    let before = made(&bench);
    assert!(!before.values().any(|id| *id == old || *id == network), "both were made anew");
    bench.storage = crate::storage::Storage::open(std::path::Path::new(&backup)).await.unwrap();
    bench.restart_manager().await;
    bench.resync().await;
    assert_eq!(made(&bench), before, "{}", bench.why(id).await);
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    assert!(bench.is_running("shop-web") && bench.is_running("shop-db"));
    assert!(bench.reconciler.foreign().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_row_whose_container_is_gone_does_not_keep_another_from_being_adopted_on_request() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "web")])).await;
    bench.runtime.lose_events(true);
    bench.runtime.remove_by_hand(&bench.runtime.id_of("shop-web"));
    let foreign = bench.runtime.foreign_container("shop-web", &[], &[]);
    bench.resync().await;
    bench.reconciler.adopt(&foreign, id, &Actor::named("somebody")).await.unwrap();
    bench.resync().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    assert_ne!(bench.runtime.id_of("shop-web"), foreign, "it is not what was reviewed, so it was made anew");
}

#[tokio::test]
async fn of_installations_that_begin_at_once_one_has_the_prefixed_alias() {
    let mut bench = Bench::new().await;
    bench.runtime.foreign_network("platform", &[]);
    let mut ids = Vec::new();
    for addon in ["one", "two", "three"] {
        let mut db = service(addon, "db");
        db.network = on(&["platform"], Some("root_db"));
        ids.push(bench.want(addon, revision(vec![db])).await);
    }
    let shared = bench.reconciler.shared.clone();
    let scopes: Vec<_> = ids.iter().map(|id| shared.pass(*id)).collect();
    for (id, passed) in ids.iter().zip(futures_util::future::join_all(scopes).await) {
        shared.passed(*id, passed);
    }
    bench.settle().await;
    let mut with = 0;
    for (id, name) in ids.iter().zip(["one-db", "two-db", "three-db"]) {
        let has_it = bench.container(name).aliases["platform"].contains("root_db");
        let conditions = bench.desired(*id).await.installation.conditions;
        assert_eq!(!has_it, conditions.iter().any(|told| told.kind == "alias_taken"), "{name}");
        with += usize::from(has_it);
    }
    assert_eq!(with, 1);
}

#[tokio::test]
async fn what_only_looks_like_ours_is_listed_as_foreign_and_adopted_on_request() {
    let mut bench = Bench::new().await;
    let web = service("shop", "web");
    let digest = web.digest();
    let id = bench.want("shop", revision(vec![web])).await;
    let labels = [
        ("oak.manager.id", MANAGER),
        ("oak.installation.id", &id.to_string()),
        ("oak.service.name", "web"),
        ("oak.spec.digest", &digest),
        ("oak.create", "copied"),
    ];
    let foreign = bench.runtime.foreign_container("shop-web", &labels, &[]);
    bench.reconciler.wake(id);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Failed);
    let listed = bench.reconciler.foreign().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].id.as_str(), listed[0].fits.clone()),
        (foreign.as_str(), Some((id, "web".to_owned())))
    );
    // Asked for: it is ours now, and made anew with the image that was reviewed.
    bench.reconciler.adopt(&foreign, id, &Actor::named("somebody")).await.unwrap();
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    assert_ne!(bench.runtime.id_of("shop-web"), foreign);
    let error = bench
        .reconciler
        .adopt(&bench.runtime.id_of("shop-web"), id, &Actor::named("somebody"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not ours already"), "{error}");
    let other = bench.runtime.foreign_container("another", &[], &[]);
    let error = bench.reconciler.adopt(&other, id, &Actor::named("somebody")).await.unwrap_err();
    assert!(error.to_string().contains("named like no service"), "{error}");
}

#[tokio::test]
async fn a_job_before_a_service_and_the_loop_that_runs_by_itself() {
    let bench = Bench::new().await;
    let migrate = job("shop", "migrate", RestartPolicy::No);
    let web = after(service("shop", "web"), "migrate", DependencyCondition::ServiceCompletedSuccessfully);
    let id = bench.want("shop", revision(vec![migrate, web])).await;
    let parts = crate::reconciler::Parts {
        storage: bench.storage.clone(),
        runtime: std::sync::Arc::new(bench.runtime.clone()),
        clock: service_kit::clock::SystemClock::shared(),
        settings: bench.reconciler.shared.settings.clone(),
    };
    let running = crate::reconciler::Reconciler::start(parts);
    let mut changes = running.changes();
    let until = async |what: &str, is: &dyn Fn() -> bool| {
        let waiting = async {
            while !is() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), waiting)
            .await
            .unwrap_or_else(|_| panic!("{what}"));
    };
    until("the job runs", &|| bench.is_running("shop-migrate")).await;
    bench.runtime.exit(&bench.runtime.id_of("shop-migrate"), 0);
    until("the service runs", &|| bench.is_running("shop-web")).await;
    let before = bench.runtime.id_of("shop-web");
    bench.runtime.remove_by_hand(&before);
    until("it is healed", &|| bench.is_running("shop-web")).await;
    while bench.status(id).await != InstallationStatus::Active {
        changes.recv().await.unwrap();
    }
    bench.runtime.tell(&EventMessage::Lost);
    bench.runtime.tell(&EventMessage::Connected);
    running.shutdown().await;
    assert!(bench.is_running("shop-web"), "stopping the manager stops no addon");
    bench.runtime.engine().await.unwrap();
}
