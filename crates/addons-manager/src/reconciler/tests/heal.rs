//! What people, processes and the engine do to a container, and what follows.

use std::time::Duration;

use addon_client::{InstallationStatus, ServicePhase};

use super::bench::{Bench, after, inside, revision, service, with_check};
use crate::domain::installation::InstallationId;
use crate::domain::specification::{DependencyCondition, PublishedPort, RestartPolicy};
use crate::reconciler::state::PolicyReason;
use crate::runtime::{ContainerState, EventMessage, Health};

async fn shop() -> (Bench, InstallationId) {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "web")])).await;
    (bench, id)
}

fn kinds(calls: &[String]) -> Vec<&str> {
    calls.iter().map(String::as_str).filter(|call| !matches!(*call, "inspect" | "list")).collect()
}

#[tokio::test]
async fn what_a_person_did_is_mended_at_once_every_time_and_is_no_failure() {
    let (mut bench, id) = shop().await;
    for round in 0..4 {
        for action in ["kill", "stop", "rm"] {
            bench.clock.advance(Duration::from_secs(1));
            let container = bench.runtime.id_of("shop-web");
            let before = bench.runtime.calls().len();
            match action {
                "kill" => bench.runtime.kill(&container),
                "stop" => bench.runtime.stop_by_hand(&container),
                _ => bench.runtime.remove_by_hand(&container),
            }
            bench.settle().await;
            assert!(bench.is_running("shop-web"), "{action} {round}: {}", bench.why(id).await);
            let calls = bench.calls_since(before);
            let expected: &[&str] =
                if action == "rm" { &["create_container", "inspect_against", "start"] } else { &["start"] };
            assert_eq!(kinds(&calls), expected, "{action}");
            // The event says which container: no listing before the repair.
            assert_eq!(calls[0], "inspect", "{action}: {calls:?}");
        }
    }
    let web = bench.report(id, "web").await;
    assert_eq!((web.phase, web.restarts, web.waiting), (ServicePhase::Running, 12, None));
}

#[tokio::test]
async fn a_signal_that_ends_nothing_marks_nobody() {
    let (mut bench, id) = shop().await;
    bench.runtime.hang_up(&bench.runtime.id_of("shop-web"));
    bench.runtime.exit(&bench.runtime.id_of("shop-web"), 3);
    bench.settle().await;
    let attempts = &bench.desired(id).await.attempts["web"];
    assert_eq!(attempts[0].ended_by, Some(crate::reconciler::state::EndedBy::Itself));
}

#[tokio::test]
async fn what_the_engine_restarts_is_only_watched() {
    let (mut bench, id) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    let before = bench.runtime.calls().len();
    bench.runtime.exit(&container, 1);
    bench.settle().await;
    assert_eq!(bench.phase(id, "web").await, ServicePhase::Restarting);
    assert_eq!(bench.report(id, "web").await.exit_code, Some(1));
    bench.runtime.engine_restarts(&container);
    bench.settle().await;
    assert_eq!(bench.phase(id, "web").await, ServicePhase::Running);
    assert_eq!(bench.report(id, "web").await.restarts, 1);
    assert!(kinds(&bench.calls_since(before)).is_empty());
}

async fn crash_loop(bench: &mut Bench, container: &str) {
    for _ in 0..5 {
        bench.runtime.exit(container, 1);
        bench.settle().await;
        bench.clock.advance(Duration::from_secs(1));
        bench.runtime.engine_restarts(container);
        bench.settle().await;
    }
}

#[tokio::test]
async fn a_crash_loop_is_taken_over_delayed_and_given_back_after_a_good_run() {
    let (mut bench, id) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    crash_loop(&mut bench, &container).await;
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::No));
    assert_eq!(bench.desired(id).await.containers[0].asked.why, PolicyReason::CrashLoop);
    // From now on it is ours, with growing delays, and the log of what failed is kept.
    let mut delays = Vec::new();
    for _ in 0..7 {
        bench.runtime.exit(&container, 1);
        bench.settle().await;
        let web = bench.report(id, "web").await;
        assert_eq!(web.phase, ServicePhase::Failed);
        assert!(web.logs.is_some());
        let waiting = web.waiting.unwrap();
        assert_eq!(waiting.reason, "backoff");
        let delay = waiting.next_attempt_at.unwrap().since(bench.now());
        delays.push(delay.as_secs());
        bench.clock.advance(delay.saturating_sub(Duration::from_millis(1)));
        bench.settle().await;
        assert!(!bench.is_running("shop-web"), "not before it is due");
        bench.clock.advance(Duration::from_millis(1));
        bench.settle().await;
        assert!(bench.is_running("shop-web"));
    }
    for (delay, least) in delays.iter().zip([10, 20, 40, 80, 160, 300, 300]) {
        assert!(*delay >= least && *delay <= least + least / 10, "{delays:?}");
    }
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    bench.wait(599).await;
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::No));
    bench.wait(1).await;
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::Always));
    bench.runtime.kill(&container);
    bench.settle().await;
    assert!(bench.is_running("shop-web"));
}

#[tokio::test]
async fn a_crash_loop_whose_events_were_lost_is_taken_over_too() {
    let (mut bench, _) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    bench.runtime.lose_events(true);
    for _ in 0..6 {
        bench.runtime.exit(&container, 1);
        bench.runtime.engine_restarts(&container);
    }
    bench.runtime.lose_events(false);
    bench.runtime.tell(&EventMessage::Connected);
    bench.settle().await;
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::No));
}

#[tokio::test]
async fn five_restarts_in_more_than_five_minutes_are_no_loop() {
    let (mut bench, _) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    for _ in 0..8 {
        bench.runtime.exit(&container, 1);
        bench.settle().await;
        bench.runtime.engine_restarts(&container);
        bench.wait(76).await;
    }
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::Always));
}

#[tokio::test]
async fn a_service_that_keeps_exiting_with_0_is_told_about_jobs() {
    let (mut bench, id) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    for _ in 0..5 {
        bench.runtime.exit(&container, 0);
        bench.settle().await;
        bench.runtime.engine_restarts(&container);
        bench.settle().await;
    }
    bench.runtime.exit(&container, 0);
    bench.settle().await;
    let message = bench.report(id, "web").await.waiting.unwrap().message;
    assert!(message.contains("`restart: no` would make it a job"), "{message}");
}

#[tokio::test]
async fn an_unhealthy_service_is_restarted_at_once_and_then_with_delays() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![with_check(service("shop", "web"))])).await;
    let container = bench.runtime.id_of("shop-web");
    bench.clock.advance(Duration::from_secs(1));
    bench.runtime.set_health(&container, Health::Unhealthy);
    let before = bench.runtime.calls().len();
    bench.settle().await;
    assert_eq!(kinds(&bench.calls_since(before)), ["stop", "start"]);
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    // The second time within ten minutes it waits, running, and says so.
    bench.runtime.set_health(&container, Health::Unhealthy);
    bench.settle().await;
    assert!(bench.is_running("shop-web"));
    assert_eq!(bench.status(id).await, InstallationStatus::Failed);
    let before = bench.runtime.calls().len();
    bench.wait(11).await;
    assert_eq!(kinds(&bench.calls_since(before)), ["stop", "start"]);
    assert_eq!(bench.report(id, "web").await.restarts, 2);
}

#[tokio::test]
async fn one_that_becomes_healthy_again_by_itself_is_left_alone() {
    let mut bench = Bench::new().await;
    let mut web = with_check(service("shop", "web"));
    web.restart_unhealthy = false;
    let id = bench.install("shop", revision(vec![web])).await;
    let container = bench.runtime.id_of("shop-web");
    let before = bench.runtime.calls().len();
    bench.runtime.set_health(&container, Health::Unhealthy);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Failed);
    bench.runtime.set_health(&container, Health::Healthy);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    assert!(kinds(&bench.calls_since(before)).iter().all(|call| *call == "logs"));
}

#[tokio::test]
async fn drift_is_mended_in_place() {
    let (mut bench, id) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    let network = bench.runtime.snapshot().networks[0].id.clone();
    let other = bench.runtime.foreign_network("lan", &[]);
    type Change<'a> = Box<dyn Fn(&Bench) + 'a>;
    let changes: [(&str, Change<'_>, &[&str]); 7] = [
        ("pause", Box::new(|bench| bench.runtime.pause(&container)), &["unpause"]),
        ("rename", Box::new(|bench| bench.runtime.rename_by_hand(&container, "mine")), &["rename"]),
        (
            "disconnect",
            Box::new(|bench| bench.runtime.disconnect_by_hand(&container, &network)),
            &["connect"],
        ),
        (
            "connect",
            Box::new(|bench| bench.runtime.connect_by_hand(&container, &other, &[])),
            &["disconnect"],
        ),
        (
            "aliases",
            Box::new(|bench| {
                bench.runtime.disconnect_by_hand(&container, &network);
                bench.runtime.connect_by_hand(&container, &network, &["other"]);
            }),
            &["disconnect", "connect"],
        ),
        (
            "policy",
            Box::new(|bench| {
                bench.runtime.update_by_hand(&container, |policy, _| *policy = RestartPolicy::No);
            }),
            &["update"],
        ),
        ("nothing", Box::new(|bench| bench.runtime.update_by_hand(&container, |_, _| {})), &[]),
    ];
    for (name, change, expected) in changes {
        let before = bench.runtime.calls().len();
        change(&bench);
        bench.settle().await;
        assert_eq!(kinds(&bench.calls_since(before)), expected, "{name}");
        assert_eq!(bench.status(id).await, InstallationStatus::Active, "{name}");
        assert_eq!(bench.runtime.id_of("shop-web"), container, "{name}");
    }
    assert!(bench.container("shop-web").aliases["shop_default"].contains("web"));
}

#[tokio::test]
async fn a_limit_is_put_right_and_one_that_cannot_be_lifted_costs_the_container() {
    let mut bench = Bench::new().await;
    let mut limited = service("shop", "limited");
    limited.resources.memory_bytes = Some(1 << 26);
    bench.install("shop", revision(vec![limited, service("shop", "free")])).await;
    let (first, second) = (bench.runtime.id_of("shop-limited"), bench.runtime.id_of("shop-free"));
    for id in [&first, &second] {
        bench.runtime.update_by_hand(id, |_, limits| limits.memory_bytes = Some(1 << 24));
    }
    bench.settle().await;
    assert_eq!(bench.runtime.id_of("shop-limited"), first);
    assert_eq!(bench.container("shop-limited").limits.memory_bytes, Some(1 << 26));
    assert_ne!(bench.runtime.id_of("shop-free"), second);
    assert_eq!(bench.container("shop-free").limits.memory_bytes, None);
}

#[tokio::test]
async fn drift_without_an_event_is_found_by_the_resync() {
    let (mut bench, id) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    bench.runtime.lose_events(true);
    bench.runtime.pause(&container);
    bench.resync().await;
    assert_eq!(bench.phase(id, "web").await, ServicePhase::Running);
    bench.runtime.kill(&container);
    bench.resync().await;
    assert!(bench.is_running("shop-web"));
    bench.runtime.remove_by_hand(&container);
    bench.resync().await;
    assert!(bench.is_running("shop-web"));
    let container = bench.runtime.id_of("shop-web");
    bench.runtime.update_by_hand(&container, |policy, _| *policy = RestartPolicy::No);
    for _ in 0..10 {
        bench.clock.advance(Duration::from_secs(60));
        bench.resync().await;
    }
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::Always));
}

#[tokio::test]
async fn a_name_that_somebody_took_meanwhile_is_waited_for() {
    let (mut bench, id) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    bench.runtime.rename_by_hand(&container, "mine");
    let thief = bench.runtime.foreign_container("shop-web", &[], &[]);
    bench.resync().await;
    let web = bench.report(id, "web").await;
    assert_eq!((web.phase, web.waiting.unwrap().reason.as_str()), (ServicePhase::Running, "conflict"));
    bench.runtime.remove_by_hand(&thief);
    bench.settle().await;
    assert_eq!(bench.runtime.id_of("shop-web"), container);
}

#[tokio::test]
async fn a_network_that_was_removed_is_made_anew_for_what_runs_and_what_does_not() {
    let (mut bench, id) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    let network = bench.runtime.snapshot().networks[0].id.clone();
    bench.runtime.remove_network_by_hand(&network);
    bench.settle().await;
    bench.resync().await;
    let again = bench.runtime.snapshot().networks[0].id.clone();
    assert_ne!(again, network);
    assert!(bench.container("shop-web").listed.networks.contains_key(&again));
    assert_eq!(bench.runtime.id_of("shop-web"), container);
    bench.runtime.lose_events(true);
    bench.runtime.stop_by_hand(&container);
    bench.runtime.remove_network_by_hand(&again);
    bench.resync().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
}

#[tokio::test]
async fn a_changed_specification_makes_the_container_anew_without_a_moment_without_image() {
    let (mut bench, id) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    let mut web = service("shop", "web");
    web.ports.push(PublishedPort {
        container_port: 80,
        protocol: crate::domain::specification::Protocol::Tcp,
        host_ip: None,
        host_port: 20_000,
        chosen: true,
    });
    let changed = revision(vec![web]);
    let digests: std::collections::BTreeMap<_, _> =
        changed.services.iter().map(|(name, service)| (name, service.digest())).collect();
    sqlx::query("UPDATE revisions SET specification = $1, digests = $2")
        .bind(serde_json::to_string(&changed).unwrap())
        .bind(serde_json::to_string(&digests).unwrap())
        .execute(bench.storage.writer())
        .await
        .unwrap();
    let before = bench.runtime.calls().len();
    bench.reconciler.wake(id);
    bench.settle().await;
    assert_eq!(
        kinds(&bench.calls_since(before)),
        ["pull", "tag", "update", "stop", "remove_container", "create_container", "inspect_against", "start"]
    );
    assert_ne!(bench.runtime.id_of("shop-web"), container);
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::Always));
}

#[tokio::test]
async fn what_lives_in_anothers_namespace_follows_it() {
    let mut bench = Bench::new().await;
    let id = bench
        .install("shop", revision(vec![service("shop", "vpn"), inside(service("shop", "web"), "vpn")]))
        .await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
    let (vpn, web) = (bench.runtime.id_of("shop-vpn"), bench.runtime.id_of("shop-web"));
    // Started anew: restarted with it.
    let started = bench.container("shop-web").started_at;
    bench.runtime.exit(&vpn, 1);
    bench.settle().await;
    bench.runtime.engine_restarts(&vpn);
    bench.settle().await;
    assert_eq!(bench.runtime.id_of("shop-web"), web);
    assert_ne!(bench.container("shop-web").started_at, started, "{}", bench.why(id).await);
    // Made anew: made anew with it.
    bench.runtime.remove_by_hand(&vpn);
    bench.settle().await;
    assert_ne!(bench.runtime.id_of("shop-web"), web);
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
    let before = bench.runtime.calls().len();
    bench.resync().await;
    assert!(kinds(&bench.calls_since(before)).is_empty());
}

#[tokio::test]
async fn what_worked_once_is_healed_without_a_dependency_that_has_failed() {
    let mut bench = Bench::new().await;
    let db = with_check(service("shop", "db"));
    let web = after(service("shop", "web"), "db", DependencyCondition::ServiceHealthy);
    let id = bench.install("shop", revision(vec![db, web])).await;
    bench.runtime.set_health_at_start(Health::Starting);
    let db = bench.runtime.id_of("shop-db");
    for _ in 0..2 {
        bench.runtime.set_health(&db, Health::Unhealthy);
        bench.settle().await;
    }
    bench.runtime.kill(&bench.runtime.id_of("shop-web"));
    bench.settle().await;
    assert!(bench.is_running("shop-web"));
    assert_eq!(bench.status(id).await, InstallationStatus::PartiallyActive);
}

#[tokio::test]
async fn the_engine_restarts_and_everything_runs_again() {
    let mut bench = Bench::new().await;
    let web = after(service("shop", "web"), "db", DependencyCondition::ServiceStarted);
    let id = bench.install("shop", revision(vec![service("shop", "db"), web])).await;
    bench.runtime.tell(&EventMessage::Lost);
    bench.settle().await;
    bench.clock.advance(Duration::from_secs(5));
    bench.runtime.restart_engine();
    bench.runtime.tell(&EventMessage::Connected);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    let web = bench.report(id, "web").await;
    assert_eq!(web.waiting, None);
}

#[tokio::test]
async fn a_dead_container_is_made_anew_and_one_in_removal_is_waited_for() {
    let (mut bench, id) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    bench.runtime.set_state(&container, ContainerState::Removing);
    bench.resync().await;
    let web = bench.report(id, "web").await;
    assert_eq!((web.phase, web.waiting.unwrap().reason.as_str()), (ServicePhase::Absent, "engine"));
    bench.runtime.set_state(&container, ContainerState::Dead);
    bench.resync().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    assert_ne!(bench.runtime.id_of("shop-web"), container);
}

#[tokio::test]
async fn a_check_that_was_merely_interrupted_is_no_failure() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![with_check(service("shop", "web"))])).await;
    let container = bench.runtime.id_of("shop-web");
    bench.runtime.list_as_unhealthy(&container);
    let before = bench.runtime.calls().len();
    bench.resync().await;
    assert!(kinds(&bench.calls_since(before)).is_empty());
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn events_that_come_late_count_nothing_twice() {
    let (mut bench, id) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    for _ in 0..4 {
        // The engine restarts it before anybody looks, and the look is faster than the events.
        bench.clock.advance(Duration::from_secs(1));
        bench.runtime.exit(&container, 1);
        bench.clock.advance(Duration::from_secs(1));
        bench.runtime.engine_restarts(&container);
        bench.clock.advance(Duration::from_secs(1));
        bench.reconciler.wake(id);
        bench.reconciler.shared.inspect_again(&container);
        bench.reconciler.shared.pass(id).await.unwrap();
        bench.settle().await;
    }
    let attempts = &bench.desired(id).await.attempts["web"];
    assert_eq!(attempts.len(), 5, "{attempts:#?}");
    assert_eq!(bench.container("shop-web").restart, Some(RestartPolicy::Always));
    assert_eq!(bench.report(id, "web").await.restarts, 4);
}

#[tokio::test]
async fn a_volume_that_vanishes_before_or_while_its_container_is_made_is_made_anew_as_ours() {
    for at_create in [false, true] {
        let mut bench = Bench::new().await;
        let db = super::bench::with_volume(service("shop", "db"), "shop_data", "/data");
        let id = bench.install("shop", revision(vec![db])).await;
        let before = bench.runtime.snapshot().volumes;
        bench.runtime.remove_by_hand(&bench.runtime.id_of("shop-db"));
        if at_create {
            bench.runtime.vanishes_at_create("shop_data");
        } else {
            // What was listed last still has it.
            bench.runtime.remove_volume_by_hand("shop_data");
        }
        bench.settle().await;
        assert!(bench.is_running("shop-db"), "{}", bench.why(id).await);
        assert_eq!(bench.runtime.snapshot().volumes, before, "name and nonce are the proof: {at_create}");
        assert!(bench.why(id).await.contains("create volume shop_data"), "{}", bench.why(id).await);
        bench.uninstall(id, true).await;
        bench.settle().await;
        assert!(bench.runtime.snapshot().volumes.is_empty());
    }
}

#[tokio::test]
async fn a_stream_that_breaks_makes_us_ask_whether_the_engine_is_there() {
    let (mut bench, _) = shop().await;
    bench.runtime.set_away(true);
    bench.runtime.tell(&EventMessage::Lost);
    bench.settle().await;
    assert_eq!(bench.reconciler.engine_unreachable(), Some(bench.now()));
}

#[tokio::test]
async fn a_run_that_events_and_a_look_find_at_once_is_one_run() {
    let (mut bench, id) = shop().await;
    let container = bench.runtime.id_of("shop-web");
    bench.clock.advance(Duration::from_secs(1));
    bench.runtime.exit(&container, 1);
    bench.settle().await;
    // The look has read the database, and asks the engine; meanwhile the event is written down.
    let before = bench.desired(id).await;
    bench.runtime.engine_restarts(&container);
    let live = bench.container("shop-web");
    let world = std::sync::Arc::new(crate::reconciler::state::World::new(bench.runtime.snapshot()));
    let observed =
        crate::reconciler::state::observe(&before, &world, &[(container.clone(), Some(live))].into());
    let records = crate::reconciler::record::records(&before, &observed, bench.now(), &[]);
    assert!(!records.is_empty());
    bench.settle().await;
    bench.storage.apply_records(&before, &records).await.unwrap();
    assert_eq!(bench.desired(id).await.attempts["web"].len(), 2);
}

#[tokio::test]
async fn a_dependent_that_asks_for_it_follows_restarts_that_we_make_and_not_those_of_the_engine() {
    let mut bench = Bench::new().await;
    let mut web = after(service("shop", "web"), "db", DependencyCondition::ServiceStarted);
    web.depends_on[0].restart = true;
    let plain = after(service("shop", "plain"), "db", DependencyCondition::ServiceStarted);
    let id = bench.install("shop", revision(vec![with_check(service("shop", "db")), web, plain])).await;
    let db = bench.runtime.id_of("shop-db");
    let runs = |bench: &Bench| ["shop-web", "shop-plain"].map(|name| bench.container(name).started_at);
    let first = runs(&bench);
    bench.runtime.exit(&db, 1);
    bench.settle().await;
    bench.runtime.engine_restarts(&db);
    bench.settle().await;
    bench.resync().await;
    assert_eq!(runs(&bench), first, "{}", bench.why(id).await);
    // Because its check fails, because somebody has killed it.
    let mut last = first.clone();
    for by in ["check", "kill"] {
        match by {
            "check" => bench.runtime.set_health(&db, Health::Unhealthy),
            _ => bench.runtime.kill(&db),
        }
        bench.settle().await;
        let now = runs(&bench);
        assert_ne!(now[0], last[0], "{by}: {}", bench.why(id).await);
        assert_eq!(now[1], first[1], "{by}: nobody has asked for this one");
        assert!(
            bench.why(id).await.contains("start web because db was restarted"),
            "{}",
            bench.why(id).await
        );
        last = now;
    }
    let before = bench.runtime.calls().len();
    bench.resync().await;
    assert!(kinds(&bench.calls_since(before)).is_empty(), "and once for each");
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn a_container_of_somebody_else_that_dies_again_and_again_makes_nobody_hurry() {
    let mut bench = Bench::new().await;
    let mut web = service("shop", "web");
    let port = |host_port| PublishedPort {
        container_port: 80,
        protocol: crate::domain::specification::Protocol::Tcp,
        host_ip: None,
        host_port,
        chosen: false,
    };
    web.ports.push(port(8080));
    let listed = |host_port| crate::runtime::ListedPort {
        host_ip: None,
        host_port,
        container_port: 80,
        protocol: crate::domain::specification::Protocol::Tcp,
    };
    let looping = bench.runtime.foreign_container("looping", &[], &[]);
    let hidden = bench.runtime.foreign_container("hidden", &[], &[]);
    bench.runtime.hidden_port(&hidden, listed(8080));
    let id = bench.install("shop", revision(vec![web])).await;
    let starts =
        |bench: &Bench| bench.runtime.calls().iter().filter(|call| call.operation == "start").count();
    let before = starts(&bench);
    bench.runtime.set_state(&looping, ContainerState::Restarting);
    bench.resync().await;
    for _ in 0..40 {
        for _ in 0..3 {
            bench.runtime.start_by_hand(&looping);
            bench.runtime.exit(&looping, 1);
        }
        bench.settle().await;
        bench.clock.advance(Duration::from_millis(100));
        bench.settle().await;
    }
    let tries = starts(&bench) - before;
    assert!((4..=5).contains(&tries), "four seconds of a storm: {tries}");
    bench.runtime.remove_by_hand(&hidden);
    bench.wait(1).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
}

#[tokio::test]
async fn volumes_are_looked_for_one_by_one_when_a_container_is_made() {
    let mut bench = Bench::new().await;
    let db = super::bench::with_volume(service("shop", "db"), "shop_data", "/data");
    bench.install("shop", revision(vec![db])).await;
    let before = bench.runtime.calls().len();
    bench.runtime.remove_by_hand(&bench.runtime.id_of("shop-db"));
    bench.settle().await;
    let calls = bench.calls_since(before);
    let create = calls.iter().position(|call| call == "create_container").unwrap();
    assert!(!calls[..create].contains(&"list".to_owned()), "{calls:?}");
    assert_eq!(calls.iter().filter(|call| *call == "inspect_volume").count(), 2, "{calls:?}");
}

/// A resync lists and is slow with the rest; an event comes meanwhile.
#[tokio::test]
async fn a_resync_that_listed_before_an_event_does_not_take_back_what_the_event_told() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![with_check(service("shop", "web"))])).await;
    let web = bench.runtime.id_of("shop-web");
    bench.runtime.set_health(&web, Health::Starting);
    bench.settle().await;
    assert_ne!(bench.status(id).await, InstallationStatus::Active);
    let shared = std::sync::Arc::clone(&bench.reconciler.shared);
    let need = shared.next();
    shared.world(need).await.unwrap();
    bench.runtime.set_health(&web, Health::Healthy);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    shared.wakes.full(id, need);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
}
