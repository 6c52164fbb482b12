//! Whatever goes wrong on the way, the end is the same: each call fails, is half done or is not answered, and the manager dies at any point.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use addon_client::InstallationStatus;

use super::bench::{Bench, after, inside, revision, service, with_check, with_volume};
use crate::domain::installation::InstallationId;
use crate::domain::rollout::RolloutPhase;
use crate::domain::specification::{
    DependencyCondition, FileSpecification, RestartPolicy, RevisionSpecification,
};
use crate::runtime::ContainerState;
use crate::runtime::memory::Fault;

/// A service with everything: a volume, a volume of the image, a file, a check; one that waits for it, and one in its network.
fn suite() -> RevisionSpecification {
    let mut db = with_check(with_volume(service("shop", "db"), "shop_data", "/data"));
    db.files.push(FileSpecification { path: "/etc/db.conf".into(), content: "x".into(), mode: 0o444 });
    let web = after(service("shop", "web"), "db", DependencyCondition::ServiceHealthy);
    revision(vec![db, web, inside(service("shop", "agent"), "web")])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Install,
    Disable,
    Uninstall,
    Heal,
    Restart,
    Upgrade,
    /// The last service of the new revision ends as soon as it runs.
    FailedUpgrade,
    Rollback,
    DisabledInUpgrade,
    /// The new container runs beside the old one until it has passed its gate.
    StartFirst,
}

const ALL: [Scenario; 10] = [
    Scenario::Install,
    Scenario::Disable,
    Scenario::Uninstall,
    Scenario::Heal,
    Scenario::Restart,
    Scenario::Upgrade,
    Scenario::FailedUpgrade,
    Scenario::Rollback,
    Scenario::DisabledInUpgrade,
    Scenario::StartFirst,
];

/// The suite with other images for two of its services, one of which lends its network to the third.
fn newer_suite() -> RevisionSpecification {
    let mut newer = suite();
    for name in ["db", "web"] {
        let service = newer.services.get_mut(name).expect("it is there");
        service.image.digest = format!("{}-2", service.image.digest);
    }
    newer
}

/// A service that is changed by starting the new container first.
fn start_first(image: &str) -> RevisionSpecification {
    let mut web = service("shop", "web");
    web.image.digest = format!("sha256:{image}");
    web.start_first = true;
    revision(vec![web])
}

/// State, restart policy, names of networks, targets of mounts.
type EndOfContainer = (ContainerState, Option<RestartPolicy>, BTreeSet<String>, BTreeSet<String>);

/// What counts at the end: not ids, but everything else.
#[derive(Debug, PartialEq, Eq)]
struct End {
    containers: BTreeMap<String, EndOfContainer>,
    networks: Vec<String>,
    volumes: BTreeSet<String>,
    tags: BTreeSet<String>,
    status: Option<InstallationStatus>,
}

async fn end(bench: &Bench, id: InstallationId) -> End {
    let listing = bench.runtime.snapshot();
    let containers = listing.containers.iter().map(|found| {
        let live = bench.container(&found.name);
        let networks = found.networks.values().map(|attachment| attachment.network_name.clone()).collect();
        let mounts = found.mounts.iter().map(|mount| mount.target.clone()).collect();
        (found.name.clone(), (found.state, live.restart, networks, mounts))
    });
    let desired = bench.storage.desired_state(id).await.unwrap();
    End {
        containers: containers.collect(),
        networks: listing.networks.iter().map(|network| network.name.clone()).collect(),
        volumes: listing.volumes.iter().map(|volume| volume.name.clone()).collect(),
        tags: bench.runtime.tags(),
        status: desired.map(|desired| desired.installation.status),
    }
}

/// Everything before what the scenario is about.
async fn prepared(scenario: Scenario) -> (Bench, InstallationId) {
    let mut bench = Bench::new().await;
    let id = if scenario == Scenario::StartFirst {
        bench.want("shop", start_first("old")).await
    } else {
        let specification = suite();
        bench.runtime.publish(&specification.services["db"].image.digest, &["/var/lib/db"], true);
        bench.want("shop", specification).await
    };
    bench.settle().await;
    if scenario != Scenario::Install {
        bench.reconciler.wake(id);
        bench.settle().await;
        assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
    }
    if scenario == Scenario::Rollback {
        upgrade(&mut bench, id).await;
        go_through(&mut bench, scenario, id).await;
        assert_eq!(bench.newest_rollout(id).await.phase, RolloutPhase::Done, "{}", bench.why(id).await);
    }
    (bench, id)
}

async fn upgrade(bench: &mut Bench, id: InstallationId) {
    let newer = newer_suite();
    bench.runtime.publish(&newer.services["db"].image.digest, &["/var/lib/db"], true);
    bench.upgrade(id, 2, newer).await;
}

/// Comes to rest, and lets gates pass where the scenario has any.
async fn go_through(bench: &mut Bench, scenario: Scenario, id: InstallationId) {
    bench.settle().await;
    let is_change = matches!(
        scenario,
        Scenario::Upgrade | Scenario::FailedUpgrade | Scenario::Rollback | Scenario::StartFirst
    );
    for _ in 0..if is_change { 4 } else { 0 } {
        bench.wait(10).await;
        spoil(bench, scenario, id).await;
        bench.settle().await;
    }
}

/// In a failed upgrade the new `web` ends whenever it runs.
async fn spoil(bench: &Bench, scenario: Scenario, id: InstallationId) {
    if scenario != Scenario::FailedUpgrade {
        return;
    }
    let Ok(Some(desired)) = bench.storage.desired_state(id).await else { return };
    let is_moved = desired.rollout.is_some_and(|rollout| {
        rollout.row.phase == RolloutPhase::Forward && rollout.row.moved.contains("web")
    });
    if is_moved && bench.is_running("shop-web") {
        bench.runtime.exit(&bench.runtime.id_of("shop-web"), 1);
    }
}

/// Until nothing is left to do.
async fn converge(bench: &mut Bench, scenario: Scenario, id: InstallationId) {
    if scenario == Scenario::FailedUpgrade {
        for _ in 0..12 {
            bench.reconciler.wake_all();
            bench.settle().await;
            spoil(bench, scenario, id).await;
            bench.clock.advance(std::time::Duration::from_secs(5));
        }
    }
    bench.converge().await;
}

async fn perform(bench: &mut Bench, scenario: Scenario, id: InstallationId) {
    match scenario {
        Scenario::Install => bench.reconciler.wake(id),
        Scenario::Disable => bench.disable(id).await,
        Scenario::Uninstall => bench.uninstall(id, true).await,
        Scenario::Heal => bench.runtime.remove_by_hand(&bench.runtime.id_of("shop-web")),
        Scenario::Restart => bench.request_restart(id).await,
        Scenario::Upgrade | Scenario::FailedUpgrade => upgrade(bench, id).await,
        Scenario::Rollback => bench.roll_back(id, 1).await,
        Scenario::StartFirst => bench.upgrade(id, 2, start_first("new")).await,
        Scenario::DisabledInUpgrade => {
            upgrade(bench, id).await;
            bench.settle().await;
            bench.disable(id).await;
        }
    }
}

/// The end when nothing goes wrong, and how many calls that takes.
async fn smooth(scenario: Scenario) -> (End, usize) {
    let (mut bench, id) = prepared(scenario).await;
    let before = bench.runtime.calls().len();
    perform(&mut bench, scenario, id).await;
    go_through(&mut bench, scenario, id).await;
    let calls = bench.runtime.calls().len() - before;
    converge(&mut bench, scenario, id).await;
    (end(&bench, id).await, calls)
}

async fn each_call(fault: Fault) {
    for scenario in ALL {
        let (expected, calls) = smooth(scenario).await;
        for call in 0..calls {
            let (mut bench, id) = prepared(scenario).await;
            perform(&mut bench, scenario, id).await;
            bench.runtime.fault(bench.runtime.calls().len() + call, fault);
            go_through(&mut bench, scenario, id).await;
            converge(&mut bench, scenario, id).await;
            let found = end(&bench, id).await;
            assert_eq!(found, expected, "{scenario:?}, {fault:?} at call {call}\n{}", bench.why(id).await);
        }
    }
}

#[tokio::test]
async fn each_call_fails_once() {
    each_call(Fault::Fails).await;
}

#[tokio::test]
async fn each_call_is_done_and_its_answer_lost() {
    each_call(Fault::HalfDone).await;
}

#[tokio::test]
async fn each_call_meets_an_engine_that_does_not_answer() {
    each_call(Fault::Unreachable).await;
}

/// A future that is dropped, as by SIGKILL, when it was polled so many times.
struct Killed<'a, F> {
    future: Pin<&'a mut F>,
    polls_left: usize,
}

impl<F: Future> Future for Killed<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(left) = self.polls_left.checked_sub(1) else { return Poll::Ready(None) };
        self.polls_left = left;
        self.future.as_mut().poll(context).map(Some)
    }
}

#[tokio::test]
async fn the_manager_dies_at_any_point() {
    for scenario in ALL {
        let (expected, _) = smooth(scenario).await;
        for polls in (0..).step_by(11) {
            let (mut bench, id) = prepared(scenario).await;
            perform(&mut bench, scenario, id).await;
            let survived = {
                let mut settling = pin!(go_through(&mut bench, scenario, id));
                Killed { future: settling.as_mut(), polls_left: polls }.await.is_some()
            };
            bench.restart_manager().await;
            converge(&mut bench, scenario, id).await;
            let found = end(&bench, id).await;
            assert_eq!(found, expected, "{scenario:?}, killed after {polls} polls\n{}", bench.why(id).await);
            if survived {
                assert!(polls > 0);
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_container_is_removed_by_hand_at_any_point_of_an_upgrade() {
    for name in ["shop-web", "shop-db", "shop-agent", "shop-web.r2", "shop-web.r1"] {
        let (expected, _) = smooth(Scenario::Upgrade).await;
        for polls in (0..).step_by(29) {
            let (mut bench, id) = prepared(Scenario::Upgrade).await;
            perform(&mut bench, Scenario::Upgrade, id).await;
            let survived = {
                let mut settling = pin!(go_through(&mut bench, Scenario::Upgrade, id));
                Killed { future: settling.as_mut(), polls_left: polls }.await.is_some()
            };
            if bench.runtime.by_name(name).is_some() {
                bench.runtime.remove_by_hand(&bench.runtime.id_of(name));
            }
            bench.restart_manager().await;
            converge(&mut bench, Scenario::Upgrade, id).await;
            let found = end(&bench, id).await;
            assert_eq!(found, expected, "{name}, killed after {polls} polls\n{}", bench.why(id).await);
            if survived {
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_a_manager_did_before_it_died_is_told() {
    let (mut bench, id) = prepared(Scenario::Disable).await;
    let before = bench.storage.events(id, 1_000).await.unwrap().len();
    perform(&mut bench, Scenario::Disable, id).await;
    bench.settle().await;
    let whole = bench.storage.events(id, 1_000).await.unwrap().len() - before;
    let mut seen = BTreeSet::new();
    for polls in 1.. {
        let (mut bench, id) = prepared(Scenario::Disable).await;
        perform(&mut bench, Scenario::Disable, id).await;
        let survived = {
            let mut settling = pin!(bench.settle());
            Killed { future: settling.as_mut(), polls_left: polls }.await.is_some()
        };
        seen.insert(bench.storage.events(id, 1_000).await.unwrap().len() - before);
        if survived {
            break;
        }
    }
    assert!(
        seen.contains(&whole) && seen.len() > 2,
        "told as it is done, not all at the end: {seen:?} of {whole}"
    );
}

#[tokio::test]
async fn all_events_are_lost() {
    for scenario in ALL {
        let (expected, _) = smooth(scenario).await;
        let (mut bench, id) = prepared(scenario).await;
        bench.runtime.lose_events(true);
        perform(&mut bench, scenario, id).await;
        converge(&mut bench, scenario, id).await;
        assert_eq!(end(&bench, id).await, expected, "{scenario:?}");
    }
}

#[tokio::test]
async fn a_network_that_was_made_twice_under_one_nonce_is_made_one() {
    let mut bench = Bench::new().await;
    let id = bench.want("shop", revision(vec![service("shop", "web")])).await;
    bench.reconciler.wake(id);
    bench.settle().await;
    // As after two lost answers: two networks carry name and nonce, and the row has no id.
    let first = bench.runtime.snapshot().networks[0].clone();
    let labels: Vec<(&str, &str)> =
        first.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let second = bench.runtime.foreign_network("shop_default", &labels);
    sqlx::query("UPDATE networks SET engine_id = NULL").execute(bench.storage.writer()).await.unwrap();
    bench.resync().await;
    let networks = bench.runtime.snapshot().networks;
    assert_eq!(networks.iter().map(|network| &network.id).collect::<Vec<_>>(), [&first.id]);
    assert_ne!(first.id, second);
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn the_database_does_not_answer_and_nothing_is_concluded() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "web")])).await;
    let before = bench.runtime.snapshot();
    sqlx::query("ALTER TABLE containers RENAME TO elsewhere").execute(bench.storage.writer()).await.unwrap();
    assert!(!bench.resync().await);
    bench.reconciler.wake(id);
    assert!(!bench.settle().await);
    assert_eq!(bench.runtime.snapshot(), before, "an unknown state is never planned as an empty one");
    sqlx::query("ALTER TABLE elsewhere RENAME TO containers").execute(bench.storage.writer()).await.unwrap();
    bench.converge().await;
    assert_eq!(bench.runtime.snapshot(), before);
    assert_eq!(bench.reconciler.engine_unreachable(), None);
}

#[tokio::test]
async fn a_network_whose_addresses_are_taken_by_itself_is_there() {
    let mut bench = Bench::new().await;
    bench.runtime.comes_true_late("shop_default");
    let id = bench.install("shop", revision(vec![service("shop", "web")])).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
    assert!(!bench.why(id).await.contains("Pool overlaps"), "nothing has failed");
    assert_eq!(bench.runtime.snapshot().networks.len(), 1);
}

#[tokio::test]
async fn creates_of_a_dead_manager_that_come_true_late_hold_nothing_back() {
    let mut bench = Bench::new().await;
    let specification = revision(vec![service("shop", "web")]);
    let digest = specification.services["web"].digest();
    let id = bench.want("shop", specification.clone()).await;
    // The row of the dead one; its network is there by the time that ours is refused.
    let (_, nonce) = bench
        .storage
        .open_network(Some(id), "shop_default", "nonce", &specification.networks["shop_default"], bench.now())
        .await
        .unwrap();
    let failure = crate::storage::attempts::NewFailure {
        installation: id,
        service: "web",
        spec_digest: &digest,
        epoch: 0,
        kind: crate::reconciler::state::ErrorKind::AddressPool,
        message: "Pool overlaps with other one on this address space",
        not_before: None,
        at: bench.now(),
    };
    bench.storage.operation_failed(&failure).await.unwrap();
    let network = bench.runtime.foreign_network("shop_default", &[("oak.create", &nonce)]);
    bench.reconciler.wake(id);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
    assert!(bench.container("shop-web").listed.networks.contains_key(&network));
}
