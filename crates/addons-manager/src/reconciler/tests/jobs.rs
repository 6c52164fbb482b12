//! Jobs: when one is done, when it has failed, and when it is run again.

use std::collections::BTreeMap;
use std::time::Duration;

use addon_client::{InstallationStatus, ServicePhase};

use super::bench::{Bench, after, job, revision, service};
use crate::domain::installation::InstallationId;
use crate::domain::specification::{DependencyCondition, RestartPolicy};
use crate::reconciler::state::StartedBy;
use crate::runtime::{ContainerState, EventMessage};
use crate::storage::attempts::NewRun;

async fn backup(restart: RestartPolicy) -> (Bench, InstallationId, String) {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![job("shop", "backup", restart)])).await;
    let container = bench.runtime.id_of("shop-backup");
    (bench, id, container)
}

fn starts(bench: &Bench) -> usize {
    bench.runtime.calls().iter().filter(|call| call.operation == "start").count()
}

#[tokio::test]
async fn a_job_that_exits_with_0_is_done_and_stays_done() {
    let (mut bench, id, container) = backup(RestartPolicy::No).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "it runs");
    bench.runtime.exit(&container, 0);
    bench.settle().await;
    assert_eq!(bench.phase(id, "backup").await, ServicePhase::Completed);
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
    assert!(bench.desired(id).await.installation.conditions.is_empty());
    // Its container is pruned, the engine restarts, the manager restarts: it is not run again.
    bench.runtime.remove_by_hand(&container);
    bench.settle().await;
    bench.runtime.restart_engine();
    bench.restart_manager().await;
    bench.resync().await;
    assert_eq!(bench.phase(id, "backup").await, ServicePhase::Completed);
    assert_eq!(starts(&bench), 1);
    bench.disable(id).await;
    bench.settle().await;
    bench.enable(id).await;
    bench.settle().await;
    assert_eq!(starts(&bench), 1, "enabling runs no job again that is done");
    bench.request_restart(id).await;
    bench.settle().await;
    assert_eq!(starts(&bench), 2);
}

#[tokio::test]
async fn an_exit_with_0_after_a_signal_is_no_completion() {
    for action in ["kill", "stop"] {
        let (mut bench, id, container) = backup(RestartPolicy::No).await;
        bench.runtime.set_exit_on_stop(0);
        match action {
            "kill" => bench.runtime.kill(&container),
            _ => bench.runtime.stop_by_hand(&container),
        }
        bench.settle().await;
        assert!(
            bench.is_running("shop-backup"),
            "{action}: what a person did is no failure: it is run again"
        );
        assert!(bench.desired(id).await.completions.is_empty());
    }
}

#[tokio::test]
async fn an_exit_with_0_while_the_stream_was_lost_is_no_completion() {
    let (mut bench, id, container) = backup(RestartPolicy::No).await;
    bench.runtime.tell(&EventMessage::Lost);
    bench.settle().await;
    bench.clock.advance(Duration::from_secs(5));
    bench.runtime.lose_events(true);
    bench.runtime.exit(&container, 0);
    bench.runtime.lose_events(false);
    bench.clock.advance(Duration::from_secs(5));
    bench.runtime.tell(&EventMessage::Connected);
    bench.settle().await;
    assert!(bench.desired(id).await.completions.is_empty());
    assert!(bench.is_running("shop-backup"), "{}", bench.why(id).await);
}

#[tokio::test]
async fn an_exit_with_0_that_only_a_listing_found_counts_and_says_so() {
    let (mut bench, id, container) = backup(RestartPolicy::No).await;
    bench.runtime.lose_events(true);
    bench.clock.advance(Duration::from_secs(60));
    bench.runtime.exit(&container, 0);
    bench.clock.advance(Duration::from_secs(60));
    bench.restart_manager().await;
    bench.resync().await;
    assert_eq!(bench.phase(id, "backup").await, ServicePhase::Completed, "{}", bench.why(id).await);
    let conditions = bench.desired(id).await.installation.conditions;
    assert_eq!(conditions[0].kind, "completion_unwatched");
}

#[tokio::test]
async fn a_job_that_fails_is_not_run_again_until_somebody_asks() {
    let (mut bench, id, container) = backup(RestartPolicy::No).await;
    bench.runtime.exit(&container, 2);
    bench.settle().await;
    let report = bench.report(id, "backup").await;
    assert_eq!((report.phase, report.exit_code), (ServicePhase::Failed, Some(2)));
    assert_eq!(report.waiting.unwrap().reason, "job-failed");
    assert!(report.logs.is_some());
    assert_eq!(bench.status(id).await, InstallationStatus::Failed);
    bench.wait(100_000).await;
    bench.resync().await;
    bench.runtime.remove_by_hand(&container);
    bench.resync().await;
    assert_eq!(starts(&bench), 1);
    bench.request_restart(id).await;
    bench.settle().await;
    assert_eq!(starts(&bench), 2);
    bench.runtime.exit(&bench.runtime.id_of("shop-backup"), 2);
    bench.settle().await;
    bench.disable(id).await;
    bench.settle().await;
    bench.enable(id).await;
    bench.settle().await;
    assert_eq!(starts(&bench), 3, "enabling is a fresh start for what has failed");
}

#[tokio::test]
async fn a_job_has_as_many_tries_as_its_policy_says() {
    let (mut bench, id, container) = backup(RestartPolicy::OnFailure(Some(2))).await;
    for _ in 0..2 {
        bench.runtime.exit(&container, 1);
        bench.settle().await;
        assert_eq!(bench.phase(id, "backup").await, ServicePhase::Restarting);
        bench.runtime.engine_restarts(&container);
        bench.settle().await;
    }
    bench.runtime.exit(&container, 1);
    bench.settle().await;
    let report = bench.report(id, "backup").await;
    assert_eq!((report.phase, report.waiting.unwrap().reason.as_str()), (ServicePhase::Failed, "job-failed"));
    bench.wait(10_000).await;
    assert_eq!(starts(&bench), 1);
}

#[tokio::test]
async fn a_job_that_fails_and_then_succeeds_is_done() {
    let (mut bench, id, container) = backup(RestartPolicy::OnFailure(None)).await;
    bench.runtime.exit(&container, 1);
    bench.settle().await;
    bench.runtime.engine_restarts(&container);
    bench.settle().await;
    bench.runtime.exit(&container, 0);
    bench.settle().await;
    assert_eq!(bench.phase(id, "backup").await, ServicePhase::Completed);
}

#[tokio::test]
async fn a_job_that_was_removed_while_it_ran_is_run_again() {
    let (mut bench, id, container) = backup(RestartPolicy::No).await;
    bench.runtime.remove_by_hand(&container);
    bench.settle().await;
    assert!(bench.is_running("shop-backup"));
    assert_eq!(bench.status(id).await, InstallationStatus::Active);
}

#[tokio::test]
async fn what_waits_for_a_job_says_so_and_why() {
    let mut bench = Bench::new().await;
    let web = after(service("shop", "web"), "migrate", DependencyCondition::ServiceCompletedSuccessfully);
    let id = bench.install("shop", revision(vec![job("shop", "migrate", RestartPolicy::No), web])).await;
    assert_eq!(bench.report(id, "web").await.waiting.unwrap().message, "waits for migrate to complete");
    assert_eq!(bench.status(id).await, InstallationStatus::Installing);
    bench.runtime.exit(&bench.runtime.id_of("shop-migrate"), 3);
    bench.settle().await;
    let message = bench.report(id, "web").await.waiting.unwrap().message;
    assert!(
        message.starts_with("waits for migrate to complete, which waits itself: it exited with 3"),
        "{message}"
    );
    assert_eq!(bench.container("shop-web").listed.state, ContainerState::Created);
    assert_eq!(bench.status(id).await, InstallationStatus::Failed);
    bench.request_restart(id).await;
    bench.settle().await;
    bench.runtime.exit(&bench.runtime.id_of("shop-migrate"), 0);
    bench.settle().await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{}", bench.why(id).await);
}

/// Writes down a start of the job as the executor does right before it asks the engine.
async fn write_start(bench: &Bench, id: InstallationId, container: &str) -> (i64, i64) {
    let desired = bench.desired(id).await;
    let row = desired.current("backup").unwrap();
    let run = NewRun {
        installation: id,
        service: "backup",
        container_row: row.row,
        engine_id: container,
        spec_digest: &row.spec_digest,
        epoch: desired.installation.epoch,
        started_by: StartedBy::Manager,
        started_at: bench.now(),
    };
    let before = bench.container("shop-backup").started_at;
    let generation = desired.installation.restart_generation;
    let attempt = bench.storage.begin_run(&run, &BTreeMap::new(), generation, Some(&before)).await.unwrap();
    (attempt, row.row)
}

#[tokio::test]
async fn a_start_that_was_written_down_and_never_asked_for_is_asked_for_by_the_next_manager() {
    let (mut bench, id, container) = backup(RestartPolicy::No).await;
    bench.runtime.exit(&container, 0);
    bench.settle().await;
    assert_eq!(bench.phase(id, "backup").await, ServicePhase::Completed);
    bench.request_restart(id).await;
    write_start(&bench, id, &container).await;
    bench.restart_manager().await;
    bench.resync().await;
    assert_eq!(starts(&bench), 2, "the exit of the run before is not that of the run that never began");
    assert_eq!(bench.phase(id, "backup").await, ServicePhase::Running);
    assert!(bench.desired(id).await.completions.is_empty());
}

#[tokio::test]
async fn a_start_that_is_taken_back_leaves_everything_as_it_was() {
    let (mut bench, id, container) = backup(RestartPolicy::No).await;
    bench.runtime.exit(&container, 0);
    bench.settle().await;
    bench.request_restart(id).await;
    let before = bench.desired(id).await;
    let (attempt, row) = write_start(&bench, id, &container).await;
    let written = bench.desired(id).await;
    assert_eq!(written.current("backup").unwrap().started_at, None);
    assert_eq!(written.current("backup").unwrap().restart_generation, 1);
    // Twice: the second one has nothing to take back.
    bench.storage.cancel_run(attempt, row).await.unwrap();
    bench.storage.cancel_run(attempt, row).await.unwrap();
    let after = bench.desired(id).await;
    assert_eq!(after.attempts, before.attempts);
    let (after, before) = (after.current("backup").unwrap(), before.current("backup").unwrap());
    assert!(before.started_at.is_some());
    assert_eq!(after.started_at, before.started_at);
    assert_eq!(after.restart_generation, 0);
}
