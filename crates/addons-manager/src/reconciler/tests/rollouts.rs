//! From one revision to the next, and back: what is touched when, what a failure costs, and what a crash finds.

use std::collections::BTreeSet;
use std::time::Duration;

use addon_client::InstallationStatus;

use super::bench::{Bench, after, inside, job, revision, service, with_check, with_volume};
use crate::domain::installation::InstallationId;
use crate::domain::rollout::RolloutPhase;
use crate::domain::specification::{
    DependencyCondition, FileSpecification, RestartPolicy, ServiceSpecification,
};
use crate::runtime::memory::Fault;
use crate::runtime::{ContainerState, Health, RuntimeError};

/// The same service with another image.
fn newer(mut service: ServiceSpecification) -> ServiceSpecification {
    service.image.digest = format!("{}-2", service.image.digest);
    service
}

fn names(bench: &Bench) -> BTreeSet<String> {
    bench.runtime.snapshot().containers.into_iter().map(|container| container.name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Time in which the manager is up: it looks at everything each minute.
async fn wait_long(bench: &mut Bench, seconds: u64) {
    for _ in 0..seconds / 60 {
        bench.clock.advance(Duration::from_secs(60));
        bench.resync().await;
    }
}

async fn shop() -> (Bench, InstallationId) {
    let mut bench = Bench::new().await;
    bench.runtime.set_health_at_start(Health::Starting);
    let web = after(service("shop", "web"), "db", DependencyCondition::ServiceHealthy);
    let id = bench.install("shop", revision(vec![with_check(service("shop", "db")), web])).await;
    bench.runtime.set_health(&bench.runtime.id_of("shop-db"), Health::Healthy);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
    (bench, id)
}

#[tokio::test]
async fn one_service_after_the_other_is_changed_and_has_to_be_well_for_a_while() {
    let (mut bench, id) = shop().await;
    let (old_db, old_web) = (bench.runtime.id_of("shop-db"), bench.runtime.id_of("shop-web"));
    let web = after(newer(service("shop", "web")), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![newer(with_check(service("shop", "db"))), web])).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Upgrading, "said at once");
    bench.settle().await;

    assert_eq!(names(&bench), set(&["shop-db", "shop-db.r1", "shop-web", "shop-web.r2"]));
    assert_ne!(bench.runtime.id_of("shop-db"), old_db);
    assert_eq!(bench.runtime.id_of("shop-db.r1"), old_db, "kept, in case");
    assert_eq!(bench.container("shop-db.r1").restart, Some(RestartPolicy::No));
    assert!(!bench.is_running("shop-db.r1"));
    assert_eq!(bench.runtime.id_of("shop-web"), old_web, "its turn has not come");
    assert!(bench.is_running("shop-web"));
    assert_eq!(bench.desired(id).await.installation.revision, 1, "until all have passed");

    bench.runtime.set_health(&bench.runtime.id_of("shop-db"), Health::Healthy);
    bench.settle().await;
    bench.wait(9).await;
    assert_eq!(bench.runtime.id_of("shop-web"), old_web, "not well for long enough");
    bench.wait(1).await;
    assert_ne!(bench.runtime.id_of("shop-web"), old_web, "{}", bench.why(id).await);
    bench.wait(10).await;

    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
    assert_eq!(names(&bench), set(&["shop-db", "shop-web"]));
    let installation = bench.storage.installation(id).await.unwrap().unwrap();
    assert_eq!((installation.revision, installation.version.as_str()), (2, "2.0.0"));
    let rollout = bench.newest_rollout(id).await;
    assert_eq!((rollout.phase, rollout.passed), (RolloutPhase::Done, set(&["db", "web"])));
    let restart = bench.container("shop-web").restart;
    assert_eq!(restart, Some(RestartPolicy::Always), "its policy is its own again");
}

#[tokio::test]
async fn a_service_that_does_not_change_is_not_touched() {
    let (mut bench, id) = shop().await;
    let (db, calls) = (bench.runtime.id_of("shop-db"), bench.runtime.calls().len());
    let web = after(newer(service("shop", "web")), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![with_check(service("shop", "db")), web])).await;
    bench.settle().await;
    bench.wait(10).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
    assert_eq!(bench.runtime.id_of("shop-db"), db);
    let calls = bench.runtime.calls().split_off(calls);
    let changing =
        calls.iter().filter(|call| !matches!(call.operation, "inspect" | "list" | "inspect_against"));
    assert!(!changing.clone().any(|call| call.object == db), "{calls:?}");
    assert!(
        bench.runtime.tags().iter().any(|tag| tag.ends_with(":r2-db")),
        "its image stays with revision 2"
    );
}

#[tokio::test]
async fn an_image_that_does_not_exist_touches_nothing() {
    let (mut bench, id) = shop().await;
    let before = bench.runtime.snapshot().containers;
    let new = newer(service("shop", "web"));
    let error = RuntimeError::Never { operation: "pull".into(), message: "manifest unknown".into() };
    bench.runtime.unpublish(&new.image.digest, error);
    let web = after(new, "db", DependencyCondition::ServiceHealthy);
    bench.upgrade_unpublished(id, 2, revision(vec![with_check(service("shop", "db")), web])).await;
    bench.settle().await;
    assert_eq!(bench.runtime.snapshot().containers, before);
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    let rollout = bench.newest_rollout(id).await;
    assert_eq!(rollout.phase, RolloutPhase::Undone);
    assert!(rollout.why.unwrap().contains("manifest unknown"));
}

#[tokio::test]
async fn a_registry_that_is_away_is_waited_for_and_what_runs_is_healed_meanwhile() {
    let (mut bench, id) = shop().await;
    let new = newer(service("shop", "web"));
    let error = RuntimeError::Retry {
        operation: "pull".into(),
        message: "503".into(),
        after: None,
        engine_unreachable: false,
    };
    bench.runtime.unpublish(&new.image.digest, error);
    let specification = revision(vec![
        with_check(service("shop", "db")),
        after(new, "db", DependencyCondition::ServiceHealthy),
    ]);
    bench.upgrade_unpublished(id, 2, specification.clone()).await;
    bench.settle().await;
    bench.runtime.kill(&bench.runtime.id_of("shop-web"));
    bench.settle().await;
    assert!(bench.is_running("shop-web"), "{}", bench.why(id).await);
    assert_eq!(bench.status(id).await, InstallationStatus::Upgrading);
    let conditions = bench.desired(id).await.installation.conditions;
    assert!(conditions.iter().any(|told| told.message.contains("503")), "{conditions:?}");
    let digest = &specification.services["web"].image.digest;
    bench.runtime.publish(digest, &[], false);
    for _ in 0..8 {
        bench.wait(100).await;
    }
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);
}

#[tokio::test]
async fn a_container_that_ends_is_undone_and_its_last_words_are_kept() {
    let (mut bench, id) = shop().await;
    let (old_db, old_web) = (bench.runtime.id_of("shop-db"), bench.runtime.id_of("shop-web"));
    let web = after(newer(service("shop", "web")), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![newer(with_check(service("shop", "db"))), web])).await;
    bench.settle().await;
    bench.runtime.set_health(&bench.runtime.id_of("shop-db"), Health::Healthy);
    bench.settle().await;
    bench.wait(10).await;
    bench.wait(5).await;
    bench.runtime.exit(&bench.runtime.id_of("shop-web"), 3);
    bench.settle().await;
    bench.runtime.set_health(&old_db, Health::Healthy);
    bench.settle().await;

    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
    assert_eq!((bench.runtime.id_of("shop-db"), bench.runtime.id_of("shop-web")), (old_db, old_web));
    assert_eq!(names(&bench), set(&["shop-db", "shop-web"]));
    assert!(bench.is_running("shop-db") && bench.is_running("shop-web"));
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::Always));
    let rollout = bench.newest_rollout(id).await;
    assert_eq!(rollout.phase, RolloutPhase::Undone);
    assert_eq!(rollout.why.as_deref(), Some("web: it exited with 3"));
    assert!(rollout.logs.is_some_and(|logs| !logs.is_empty()));
    assert_eq!(bench.storage.installation(id).await.unwrap().unwrap().version, "1.0.0");
}

#[tokio::test]
async fn an_unhealthy_container_is_undone() {
    let (mut bench, id) = shop().await;
    let old = bench.runtime.id_of("shop-db");
    let web = after(service("shop", "web"), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![newer(with_check(service("shop", "db"))), web])).await;
    bench.settle().await;
    bench.runtime.set_health(&bench.runtime.id_of("shop-db"), Health::Unhealthy);
    bench.settle().await;
    assert_eq!(bench.runtime.id_of("shop-db"), old, "{}", bench.why(id).await);
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Undone);
}

#[tokio::test]
async fn what_is_never_well_is_undone_when_the_time_is_up() {
    let (mut bench, id) = shop().await;
    let old = bench.runtime.id_of("shop-db");
    let web = after(service("shop", "web"), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![newer(with_check(service("shop", "db"))), web])).await;
    bench.settle().await;
    wait_long(&mut bench, 3_000).await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Forward, "it is only starting");
    wait_long(&mut bench, 660).await;
    assert_eq!(bench.runtime.id_of("shop-db"), old, "{}", bench.why(id).await);
    let rollout = bench.newest_rollout(id).await;
    assert!(rollout.why.unwrap().contains("not through within 60 min: db is not well yet"));
}

#[tokio::test]
async fn a_time_without_manager_or_engine_does_not_count_and_begins_the_gate_again() {
    let (mut bench, id) = shop().await;
    let web = after(newer(service("shop", "web")), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![with_check(service("shop", "db")), web])).await;
    bench.settle().await;
    bench.wait(8).await;
    bench.clock.advance(Duration::from_secs(86_400));
    bench.restart_manager().await;
    bench.resync().await;
    let rollout = bench.newest_rollout(id).await;
    assert_eq!((rollout.phase, rollout.passed.len()), (RolloutPhase::Forward, 0), "it is looked at anew");
    assert!(rollout.used_ms < 60_000, "{}", rollout.used_ms);
    bench.wait(10).await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);
}

#[tokio::test]
async fn a_time_in_which_the_engine_is_away_does_not_count() {
    let (mut bench, id) = shop().await;
    let web = after(newer(service("shop", "web")), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![newer(with_check(service("shop", "db"))), web])).await;
    bench.settle().await;
    bench.runtime.set_away(true);
    for _ in 0..3 * 60 {
        bench.clock.advance(Duration::from_secs(60));
        bench.resync().await;
    }
    bench.runtime.set_away(false);
    bench.resync().await;
    bench.runtime.set_health(&bench.runtime.id_of("shop-db"), Health::Healthy);
    bench.settle().await;
    bench.wait(10).await;
    bench.wait(10).await;
    let rollout = bench.newest_rollout(id).await;
    assert_eq!(rollout.phase, RolloutPhase::Done, "{}", bench.why(id).await);
    assert!(rollout.used_ms < 600_000, "{}", rollout.used_ms);
}

#[tokio::test]
async fn what_an_earlier_rollout_has_left_goes_before_the_next_one_moves_anything() {
    let (mut bench, id) = shop().await;
    let db = || with_check(service("shop", "db"));
    let web = after(newer(service("shop", "web")), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![db(), web])).await;
    bench.settle().await;
    // It is over, and nothing is cleaned up before the next one begins.
    let first = bench.newest_rollout(id).await;
    bench.storage.complete_rollout(first.id, bench.now()).await.unwrap();
    let web = after(newer(newer(service("shop", "web"))), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 3, revision(vec![db(), web])).await;
    bench.settle().await;
    assert_eq!(names(&bench), set(&["shop-db", "shop-web", "shop-web.r2"]), "{}", bench.why(id).await);
    bench.wait(10).await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);
    assert_eq!(names(&bench), set(&["shop-db", "shop-web"]));
}

#[tokio::test]
async fn what_an_earlier_rollout_has_left_goes_also_where_the_next_one_fails() {
    let (mut bench, id) = shop().await;
    let changed = |db: ServiceSpecification, web: ServiceSpecification| {
        revision(vec![with_check(db), after(web, "db", DependencyCondition::ServiceHealthy)])
    };
    bench.upgrade(id, 2, changed(service("shop", "db"), newer(service("shop", "web")))).await;
    bench.settle().await;
    let first = bench.newest_rollout(id).await;
    bench.storage.complete_rollout(first.id, bench.now()).await.unwrap();
    bench.upgrade(id, 3, changed(newer(service("shop", "db")), newer(service("shop", "web")))).await;
    bench.settle().await;
    bench.runtime.set_health(&bench.runtime.id_of("shop-db"), Health::Unhealthy);
    bench.settle().await;
    bench.runtime.set_health(&bench.runtime.id_of("shop-db"), Health::Healthy);
    bench.settle().await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Undone, "{}", bench.why(id).await);
    assert_eq!(names(&bench), set(&["shop-db", "shop-web"]));
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
}

#[tokio::test]
async fn what_failed_once_is_tried_again_by_the_next_upgrade() {
    let mut bench = Bench::new().await;
    let migrate = || job("shop", "migrate", RestartPolicy::No);
    let new = || revision(vec![newer(migrate()), newer(service("shop", "web"))]);
    let id = bench.install("shop", revision(vec![migrate(), service("shop", "web")])).await;
    bench.runtime.exit(&bench.runtime.id_of("shop-migrate"), 0);
    bench.settle().await;
    bench.upgrade(id, 2, new()).await;
    bench.settle().await;
    bench.runtime.exit(&bench.runtime.id_of("shop-migrate"), 4);
    bench.settle().await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Undone, "{}", bench.why(id).await);

    bench.upgrade(id, 3, new()).await;
    bench.settle().await;
    assert!(bench.is_running("shop-migrate"), "{}", bench.why(id).await);
    bench.runtime.exit(&bench.runtime.id_of("shop-migrate"), 0);
    bench.settle().await;
    bench.wait(10).await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);

    // A job that was done before is not run again, and has its name all the same.
    bench.roll_back(id, 1).await;
    bench.settle().await;
    bench.wait(10).await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);
    assert_eq!(names(&bench), set(&["shop-migrate", "shop-web"]));
}

#[tokio::test]
async fn a_network_that_only_the_new_revision_has_holds_back_nothing_that_runs() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "web")])).await;
    let mut new = revision(vec![newer(service("shop", "web"))]);
    let network = new.networks["shop_default"].clone();
    new.networks.insert("shop_lan".to_owned(), network);
    let crate::domain::specification::NetworkMode::Networks(attachments) =
        &mut new.services.get_mut("web").unwrap().network
    else {
        panic!("it is on a network")
    };
    attachments.push(crate::domain::specification::NetworkAttachment {
        network: "shop_lan".to_owned(),
        ..attachments[0].clone()
    });
    let before = bench.runtime.calls().len();
    let mut probe = Bench::new().await;
    let other = probe.install("shop", revision(vec![service("shop", "web")])).await;
    let begun = probe.runtime.calls().len();
    probe.upgrade(other, 2, new.clone()).await;
    probe.settle().await;
    let calls = probe.runtime.calls().split_off(begun);
    let create = calls.iter().position(|call| call.operation == "create_network").expect("it is made");
    bench.runtime.fault(before + create, Fault::Fails);
    bench.upgrade(id, 2, new).await;
    bench.settle().await;
    let desired = bench.desired(id).await;
    assert!(desired.history("web").iter().all(|attempt| attempt.error.is_none()), "{}", bench.why(id).await);
    assert!(bench.why(id).await.contains("the answer was lost"), "{}", bench.why(id).await);
    bench.runtime.kill(&bench.runtime.id_of("shop-web"));
    bench.settle().await;
    assert!(bench.is_running("shop-web"), "{}", bench.why(id).await);
    bench.wait(5).await;
    bench.wait(10).await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);
}

#[tokio::test]
async fn a_name_that_somebody_else_has_is_told_before_anything_is_stopped() {
    let (mut bench, id) = shop().await;
    let web_before = bench.runtime.id_of("shop-web");
    bench.runtime.foreign_container("shop-web.r1", &[], &[]);
    let web = after(newer(service("shop", "web")), "db", DependencyCondition::ServiceHealthy);
    let stops = bench.runtime.calls().len();
    bench.upgrade(id, 2, revision(vec![with_check(service("shop", "db")), web])).await;
    bench.settle().await;
    let rollout = bench.newest_rollout(id).await;
    assert_eq!(rollout.phase, RolloutPhase::Undone, "{}", bench.why(id).await);
    assert!(rollout.why.unwrap().contains("shop-web.r1"));
    assert_eq!(bench.runtime.id_of("shop-web"), web_before);
    assert!(!bench.runtime.calls()[stops..].iter().any(|call| call.operation == "stop"));
}

#[tokio::test]
async fn what_goes_is_stopped_last_unless_it_is_in_the_way() {
    let mut bench = Bench::new().await;
    let cache = with_volume(service("shop", "cache"), "shop_cache", "/cache");
    let id = bench.install("shop", revision(vec![cache, service("shop", "web")])).await;
    bench.upgrade(id, 2, revision(vec![newer(service("shop", "web"))])).await;
    bench.settle().await;
    assert!(bench.is_running("shop-cache"), "the old web may need it: {}", bench.why(id).await);
    bench.wait(10).await;
    assert_eq!(names(&bench), set(&["shop-web"]), "{}", bench.why(id).await);

    let store = |name: &str| with_volume(service("shop", name), "shop_data", "/data");
    let id = bench.install("other", revision(vec![store("one")])).await;
    bench.upgrade(id, 2, revision(vec![store("two")])).await;
    bench.settle().await;
    assert!(!bench.is_running("shop-one.r1"), "both would write to one volume: {}", bench.why(id).await);
}

#[test]
fn what_cannot_run_side_by_side_is_told() {
    use crate::domain::specification::{Device, NetworkMode, Protocol, PublishedPort};
    type Change = fn(&mut ServiceSpecification);
    let port = |service: &mut ServiceSpecification, host_port: u16| {
        service.ports.push(PublishedPort {
            container_port: 80,
            protocol: Protocol::Tcp,
            host_ip: None,
            host_port,
            chosen: false,
        });
    };
    let nothing: Change = |_| ();
    let publishes: Change = |service| service.network = NetworkMode::Bridge;
    let host: Change = |service| service.network = NetworkMode::Host;
    let lodger: Change = |service| service.network = NetworkMode::Service("web".to_owned());
    let other_lodger: Change = |service| service.network = NetworkMode::Service("db".to_owned());
    let device: Change = |service| {
        let host_path = "/dev/ttyUSB0".to_owned();
        let device = Device { container_path: host_path.clone(), host_path, permissions: "rwm".to_owned() };
        service.settings.devices.push(device);
    };
    let address: Change = |service| {
        let NetworkMode::Networks(attachments) = &mut service.network else { return };
        attachments[0].ipv4_address = Some([10, 209, 0, 9].into());
    };
    let name: Change = |service| service.container_name = "same".to_owned();
    let volume: Change = |service| *service = with_volume(service.clone(), "shop_data", "/data");
    let reader: Change = |service| {
        *service = with_volume(service.clone(), "shop_data", "/data");
        service.mounts[0].read_only = true;
    };
    for (one, other, expected) in [
        (nothing, nothing, false),
        (host, host, true),
        (host, nothing, false),
        (lodger, lodger, true),
        (lodger, other_lodger, false),
        (device, device, true),
        (device, nothing, false),
        (address, address, true),
        (address, nothing, false),
        (name, name, true),
        (volume, volume, true),
        (volume, reader, false),
        (volume, nothing, false),
    ] {
        let (mut first, mut second) = (service("shop", "one"), service("shop", "two"));
        one(&mut first);
        other(&mut second);
        assert_eq!(first.is_in_the_way_of(&second), expected, "{first:?}\n{second:?}");
    }
    for (one, other, expected) in [(8_080, 8_080, true), (8_080, 8_081, false)] {
        let (mut first, mut second) = (service("shop", "one"), service("shop", "two"));
        port(&mut first, one);
        port(&mut second, other);
        assert_eq!(first.is_in_the_way_of(&second), expected);
        publishes(&mut second);
        host(&mut first);
        first.ports.clear();
        assert!(first.is_in_the_way_of(&second), "it may listen on what the other one publishes");
    }
}

#[tokio::test]
async fn revisions_that_never_ran_through_go_before_those_that_did() {
    let mut bench = Bench::new().await;
    let web = |number: i64| {
        let mut web = service("shop", "web");
        web.image.digest = format!("sha256:web-{number}");
        revision(vec![web])
    };
    let id = bench.install("shop", web(1)).await;
    for number in 2..=14 {
        bench.upgrade(id, number, web(number)).await;
        bench.settle().await;
        if number > 3 {
            bench.runtime.exit(&bench.runtime.id_of("shop-web"), 1);
            bench.settle().await;
        }
        bench.wait(10).await;
    }
    bench.settle().await;
    let kept: Vec<i64> =
        bench.storage.revisions(id).await.unwrap().iter().map(|revision| revision.revision).collect();
    assert_eq!(kept, [14, 13, 12, 11, 10, 9, 8, 3, 2, 1]);
    // The next one has a number that none of those had that are gone.
    sqlx::query("DELETE FROM revisions WHERE revision > 3").execute(bench.storage.writer()).await.unwrap();
    let refused = bench.storage.change_revision(id, bench.now(), |_, standing| Err(standing.last_revision));
    assert_eq!(refused.await.unwrap().unwrap(), Err::<(), _>(14));
}

#[tokio::test]
async fn a_rollback_waits_until_the_name_of_its_container_is_free() {
    let (mut bench, id) = shop().await;
    let web = after(newer(service("shop", "web")), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![with_check(service("shop", "db")), web])).await;
    bench.settle().await;
    let first = bench.newest_rollout(id).await;
    bench.storage.complete_rollout(first.id, bench.now()).await.unwrap();
    bench.roll_back(id, 1).await;
    bench.settle().await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Forward, "{}", bench.why(id).await);
    bench.wait(10).await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);
    assert_eq!(names(&bench), set(&["shop-db", "shop-web"]));
}

#[tokio::test]
async fn the_time_of_a_pull_does_not_count_whoever_looks_meanwhile() {
    let (mut bench, id) = shop().await;
    let web = after(newer(service("shop", "web")), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![with_check(service("shop", "db")), web])).await;
    let mut plan = crate::reconciler::plan::graph::Plan::default();
    let pull = crate::reconciler::plan::graph::Step::PullImage { service: "web".to_owned(), revision: 2 };
    plan.add(pull, Some("web"), "", &[]);
    let shared = std::sync::Arc::clone(&bench.reconciler.shared);
    let used_ms = async |bench: &Bench| {
        let mut desired = bench.desired(id).await;
        shared.watch_rollout(&mut desired).await.unwrap();
        desired.rollout.unwrap().row.used_ms
    };
    assert_eq!(used_ms(&bench).await, 0);
    shared.rollout_acts(&bench.desired(id).await, &plan);
    for _ in 0..12 {
        bench.clock.advance(Duration::from_secs(60));
        assert_eq!(used_ms(&bench).await, 0);
    }
    shared.rollout_acted(&bench.desired(id).await);
    assert_eq!(used_ms(&bench).await, 0);
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(used_ms(&bench).await, 60_000);
    bench.settle().await;
}

#[tokio::test]
async fn a_parked_container_that_somebody_removed_is_made_anew() {
    let (mut bench, id) = shop().await;
    let web = after(newer(service("shop", "web")), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![with_check(service("shop", "db")), web])).await;
    bench.settle().await;
    bench.runtime.remove_by_hand(&bench.runtime.id_of("shop-web.r1"));
    bench.settle().await;
    bench.runtime.exit(&bench.runtime.id_of("shop-web"), 1);
    bench.settle().await;
    assert_eq!(names(&bench), set(&["shop-db", "shop-web"]));
    assert!(bench.is_running("shop-web"), "{}", bench.why(id).await);
    let image = bench.container("shop-web").listed.image_id;
    assert_eq!(image, bench.desired(id).await.images["web"].image_id, "that of the old revision");
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Undone);
}

#[tokio::test]
async fn a_parked_container_that_somebody_starts_is_stopped_again() {
    let (mut bench, id) = shop().await;
    let web = after(newer(service("shop", "web")), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![with_check(service("shop", "db")), web])).await;
    bench.settle().await;
    bench.runtime.start_by_hand(&bench.runtime.id_of("shop-web.r1"));
    bench.settle().await;
    assert!(!bench.is_running("shop-web.r1") && bench.is_running("shop-web"), "{}", bench.why(id).await);
}

#[tokio::test]
async fn services_come_and_go() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "old"), service("shop", "web")])).await;
    let old = bench.runtime.id_of("shop-old");
    bench.upgrade(id, 2, revision(vec![service("shop", "new"), service("shop", "web")])).await;
    bench.settle().await;
    assert_eq!(names(&bench), set(&["shop-old", "shop-new", "shop-web"]), "{}", bench.why(id).await);
    bench.wait(10).await;
    assert_eq!(names(&bench), set(&["shop-new", "shop-web"]));
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done);

    bench.roll_back(id, 1).await;
    assert_eq!(bench.status(id).await, InstallationStatus::RollingBack);
    bench.settle().await;
    bench.runtime.exit(&bench.runtime.id_of("shop-old"), 1);
    bench.settle().await;
    assert_eq!(names(&bench), set(&["shop-new", "shop-web"]), "{}", bench.why(id).await);
    assert!(bench.is_running("shop-new"));
    assert_ne!(old, bench.runtime.id_of("shop-new"));
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Undone);
}

#[tokio::test]
async fn a_job_passes_by_completing() {
    let mut bench = Bench::new().await;
    let specification = |migrate: ServiceSpecification, web: ServiceSpecification| {
        revision(vec![migrate, after(web, "migrate", DependencyCondition::ServiceCompletedSuccessfully)])
    };
    let migrate = || job("shop", "migrate", RestartPolicy::No);
    let id = bench.install("shop", specification(migrate(), service("shop", "web"))).await;
    bench.runtime.exit(&bench.runtime.id_of("shop-migrate"), 0);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    let web = bench.runtime.id_of("shop-web");

    bench.upgrade(id, 2, specification(newer(migrate()), newer(service("shop", "web")))).await;
    bench.settle().await;
    bench.wait(60).await;
    assert_eq!(bench.runtime.id_of("shop-web"), web, "the job runs still");
    bench.runtime.exit(&bench.runtime.id_of("shop-migrate"), 0);
    bench.settle().await;
    assert_ne!(bench.runtime.id_of("shop-web"), web, "{}", bench.why(id).await);
    bench.wait(10).await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done);

    bench.upgrade(id, 3, specification(newer(newer(migrate())), newer(service("shop", "web")))).await;
    bench.settle().await;
    bench.runtime.exit(&bench.runtime.id_of("shop-migrate"), 4);
    bench.settle().await;
    let rollout = bench.newest_rollout(id).await;
    assert_eq!(rollout.phase, RolloutPhase::Undone, "{}", bench.why(id).await);
    assert!(rollout.why.unwrap().starts_with("migrate: it exited with 4"));
    assert_eq!(names(&bench), set(&["shop-migrate", "shop-web"]), "a job that is done has its name back");
}

#[tokio::test]
async fn start_first_has_the_new_one_up_before_the_old_one_stops() {
    let mut bench = Bench::new().await;
    let first = |service: ServiceSpecification| ServiceSpecification { start_first: true, ..service };
    let id = bench.install("shop", revision(vec![first(service("shop", "web"))])).await;
    let old = bench.runtime.id_of("shop-web");
    bench.upgrade(id, 2, revision(vec![first(newer(service("shop", "web")))])).await;
    bench.settle().await;
    assert!(bench.is_running("shop-web") && bench.is_running("shop-web.r2"), "{}", bench.why(id).await);
    assert_eq!(bench.runtime.id_of("shop-web"), old);
    bench.wait(10).await;
    assert_eq!(names(&bench), set(&["shop-web"]), "{}", bench.why(id).await);
    assert_ne!(bench.runtime.id_of("shop-web"), old);
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::Always));
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done);

    // One that fails costs the old one nothing.
    let old = bench.runtime.id_of("shop-web");
    let stops = bench.runtime.calls().len();
    bench.upgrade(id, 3, revision(vec![first(newer(newer(service("shop", "web"))))])).await;
    bench.settle().await;
    bench.runtime.exit(&bench.runtime.id_of("shop-web.r3"), 1);
    bench.settle().await;
    assert_eq!(names(&bench), set(&["shop-web"]), "{}", bench.why(id).await);
    assert_eq!(bench.runtime.id_of("shop-web"), old);
    let calls = bench.runtime.calls().split_off(stops);
    assert!(!calls.iter().any(|call| call.operation == "stop" && call.object == old), "{calls:?}");
}

#[tokio::test]
async fn what_starts_first_and_is_killed_or_not_started_is_started_again() {
    let mut bench = Bench::new().await;
    let first = |service: ServiceSpecification| ServiceSpecification { start_first: true, ..service };
    let id = bench.install("shop", revision(vec![first(service("shop", "web"))])).await;
    let before = bench.runtime.calls().len();
    bench.upgrade(id, 2, revision(vec![first(newer(service("shop", "web")))])).await;
    bench.settle().await;
    bench.runtime.kill(&bench.runtime.id_of("shop-web.r2"));
    bench.settle().await;
    bench.wait(2).await;
    assert!(bench.is_running("shop-web.r2"), "{}", bench.why(id).await);
    bench.wait(10).await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);

    // The engine does not start it, once.
    let calls = bench.runtime.calls().split_off(before);
    let start = calls.iter().position(|call| call.operation == "start").expect("it was started");
    bench.runtime.fault(bench.runtime.calls().len() + start, Fault::Fails);
    bench.upgrade(id, 3, revision(vec![first(newer(newer(service("shop", "web"))))])).await;
    bench.settle().await;
    bench.wait(2).await;
    assert!(bench.why(id).await.contains("the answer was lost"));
    assert!(bench.is_running("shop-web.r3") && bench.is_running("shop-web"), "{}", bench.why(id).await);
    bench.wait(10).await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);
}

#[tokio::test]
async fn a_job_that_may_fail_any_number_of_times_is_waited_for() {
    let mut bench = Bench::new().await;
    let migrate = || job("shop", "migrate", RestartPolicy::OnFailure(None));
    let id = bench.install("shop", revision(vec![migrate(), service("shop", "web")])).await;
    bench.runtime.exit(&bench.runtime.id_of("shop-migrate"), 0);
    bench.settle().await;
    let changed = ServiceSpecification { start_first: true, ..newer(migrate()) };
    bench.upgrade(id, 2, revision(vec![changed, service("shop", "web")])).await;
    bench.settle().await;
    assert!(!names(&bench).contains("shop-migrate.r2"), "no two runs of a job at once");
    for _ in 0..7 {
        bench.runtime.exit(&bench.runtime.id_of("shop-migrate"), 1);
        bench.settle().await;
        bench.runtime.engine_restarts(&bench.runtime.id_of("shop-migrate"));
        bench.wait(90).await;
        let rollout = bench.newest_rollout(id).await;
        assert_eq!(rollout.phase, RolloutPhase::Forward, "{}", bench.why(id).await);
        assert!(bench.is_running("shop-migrate"), "{}", bench.why(id).await);
    }
    bench.runtime.exit(&bench.runtime.id_of("shop-migrate"), 0);
    bench.settle().await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);
}

#[tokio::test]
async fn disabling_ends_it_and_enabling_brings_the_old_revision_back() {
    let (mut bench, id) = shop().await;
    let web = after(newer(service("shop", "web")), "db", DependencyCondition::ServiceHealthy);
    bench.upgrade(id, 2, revision(vec![with_check(service("shop", "db")), web])).await;
    bench.settle().await;
    assert!(names(&bench).contains("shop-web.r1"));
    bench.disable(id).await;
    bench.settle().await;
    assert_eq!(names(&bench), set(&[]), "{}", bench.why(id).await);
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Ended);
    bench.enable(id).await;
    bench.settle().await;
    bench.runtime.set_health(&bench.runtime.id_of("shop-db"), Health::Healthy);
    bench.settle().await;
    let image = bench.container("shop-web").listed.image_id;
    assert_eq!(image, bench.desired(id).await.images["web"].image_id);
    assert_eq!(bench.desired(id).await.installation.revision, 1);
}

#[tokio::test]
async fn what_lives_in_the_namespace_of_a_changed_service_moves_with_it() {
    let mut bench = Bench::new().await;
    let agent = || inside(service("shop", "agent"), "web");
    let id = bench.install("shop", revision(vec![service("shop", "web"), agent()])).await;
    bench.upgrade(id, 2, revision(vec![newer(service("shop", "web")), newer(agent())])).await;
    bench.settle().await;
    bench.wait(10).await;
    bench.wait(10).await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    assert_eq!(names(&bench), set(&["shop-agent", "shop-web"]));
}

#[tokio::test]
async fn the_new_revision_uses_the_volumes_of_the_old_one_and_networks_that_change_are_made_beside_it() {
    let mut bench = Bench::new().await;
    let db = || with_volume(service("shop", "db"), "shop_data", "/data");
    let id = bench.install("shop", revision(vec![db()])).await;
    let mut new = revision(vec![newer(db())]);
    let network = new.networks.remove("shop_default").unwrap();
    let changed = crate::domain::specification::NetworkSpecification {
        internal: true,
        subnets: vec!["10.209.1.0/26".to_owned()],
        ..network
    };
    new.networks.insert("shop_default.r2".to_owned(), changed);
    let crate::domain::specification::NetworkMode::Networks(attachments) =
        &mut new.services.get_mut("db").unwrap().network
    else {
        panic!("it is on a network")
    };
    attachments[0].network = "shop_default.r2".to_owned();
    bench.upgrade(id, 2, new).await;
    bench.settle().await;
    bench.wait(10).await;
    assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);
    let listing = bench.runtime.snapshot();
    let networks: Vec<&str> = listing.networks.iter().map(|network| network.name.as_str()).collect();
    assert_eq!(networks, ["shop_default.r2"]);
    assert_eq!(listing.volumes.len(), 1);
    assert_eq!(listing.containers[0].mounts[0].volume.as_deref(), Some("shop_data"));
    assert_eq!(listing.containers[0].state, ContainerState::Running);
}

#[tokio::test]
async fn ten_revisions_are_kept_and_the_images_of_older_ones_go() {
    let mut bench = Bench::new().await;
    let web = |number: i64| {
        let mut web = service("shop", "web");
        web.image.digest = format!("sha256:web-{number}");
        web.files.push(FileSpecification {
            path: "/etc/web.conf".into(),
            content: number.to_string(),
            mode: 0o444,
        });
        revision(vec![web])
    };
    let id = bench.install("shop", web(1)).await;
    for number in 2..=12 {
        bench.upgrade(id, number, web(number)).await;
        bench.settle().await;
        bench.wait(10).await;
        assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);
    }
    bench.settle().await;
    let kept: Vec<i64> =
        bench.storage.revisions(id).await.unwrap().iter().map(|revision| revision.revision).collect();
    assert_eq!(kept, (3..=12).rev().collect::<Vec<_>>());
    let tags = bench.runtime.tags();
    assert!(!tags.iter().any(|tag| tag.ends_with(":r1-web") || tag.ends_with(":r2-web")), "{tags:?}");
    assert_eq!(tags.len(), 10);
    let files = bench.folder.path().join("files").join(id.to_string()).join("web");
    let mut left: Vec<String> = std::fs::read_dir(files)
        .unwrap()
        .map(|folder| std::fs::read_to_string(folder.unwrap().path().join("0")).unwrap())
        .collect();
    left.sort_by_key(|number| number.parse::<i64>().unwrap());
    assert_eq!(left, (3..=12).map(|number| number.to_string()).collect::<Vec<_>>());
}
