//! The why-log says what happened, in words that tell who did it, and each thing once.

use addon_client::InstallationStatus;

use super::bench::{Bench, after, revision, service};
use crate::domain::specification::DependencyCondition;
use crate::runtime::{ChangeNeeded, EventMessage, RuntimeError};

#[tokio::test]
async fn limits_that_were_changed_are_no_policy() {
    let mut bench = Bench::new().await;
    let mut web = service("shop", "web");
    web.resources.memory_bytes = Some(1 << 26);
    let id = bench.install("shop", revision(vec![web])).await;
    let container = bench.runtime.id_of("shop-web");
    bench.runtime.update_by_hand(&container, |_, limits| limits.memory_bytes = Some(1 << 24));
    bench.settle().await;
    let why = bench.why(id).await;
    assert!(why.contains("set the limits because its limits were changed: done"), "{why}");
    bench.runtime.update_by_hand(&container, |policy, limits| {
        *policy = crate::domain::specification::RestartPolicy::No;
        limits.memory_bytes = Some(1 << 24);
    });
    bench.settle().await;
    let why = bench.why(id).await;
    assert!(
        why.contains("set the limits and restart policy always because its limits and its restart policy"),
        "{why}"
    );
}

#[tokio::test]
async fn what_a_stopping_engine_ended_was_ended_by_it() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "db"), service("shop", "web")])).await;
    // The events of a stopping engine are those of a `docker stop`; then it is gone.
    for name in ["shop-db", "shop-web"] {
        bench.runtime.stop_by_hand(&bench.runtime.id_of(name));
    }
    bench.runtime.tell(&EventMessage::Lost);
    bench.runtime.set_away(true);
    bench.settle().await;
    bench.runtime.set_away(false);
    bench.runtime.tell(&EventMessage::Connected);
    bench.settle().await;
    let why = bench.why(id).await;
    assert_eq!(bench.status(id).await, InstallationStatus::Active, "{why}");
    assert!(why.contains("start web because the engine stopped it"), "{why}");
    assert!(!why.contains("somebody"), "{why}");
}

#[tokio::test]
async fn what_an_engine_ends_when_it_comes_back_was_ended_by_it() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "web")])).await;
    bench.runtime.tell(&EventMessage::Lost);
    bench.runtime.set_away(true);
    bench.settle().await;
    bench.clock.advance(std::time::Duration::from_secs(5));
    bench.runtime.set_away(false);
    bench.runtime.tell(&EventMessage::Connected);
    // It was killed, and finds the container running: events of that time come now.
    bench.runtime.kill(&bench.runtime.id_of("shop-web"));
    bench.settle().await;
    assert!(
        bench.why(id).await.contains("start web because the engine stopped it"),
        "{}",
        bench.why(id).await
    );
    bench.clock.advance(std::time::Duration::from_secs(5));
    bench.runtime.kill(&bench.runtime.id_of("shop-web"));
    bench.settle().await;
    assert!(bench.why(id).await.contains("start web because somebody stopped it"), "{}", bench.why(id).await);
}

#[tokio::test]
async fn what_somebody_stopped_right_before_a_stream_was_cut_was_stopped_by_somebody() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "db"), service("shop", "web")])).await;
    bench.runtime.stop_by_hand(&bench.runtime.id_of("shop-web"));
    bench.runtime.tell(&EventMessage::Lost);
    bench.runtime.tell(&EventMessage::Connected);
    bench.settle().await;
    let why = bench.why(id).await;
    assert!(why.contains("start web because somebody stopped it (it exited with 143)"), "{why}");
}

#[tokio::test]
async fn an_image_that_was_there_is_not_pulled_again() {
    let mut bench = Bench::new().await;
    let (first, mut second) = (service("shop", "db"), service("shop", "web"));
    second.image = first.image.clone();
    let second = after(second, "db", DependencyCondition::ServiceStarted);
    let id = bench.install("shop", revision(vec![first, second])).await;
    let why = bench.why(id).await;
    assert_eq!(why.matches("pull the image of").count(), 1, "{why}");
    assert_eq!(why.matches("which was there already").count(), 1, "{why}");
}

#[tokio::test]
async fn the_same_error_is_told_once_in_full() {
    let mut bench = Bench::new().await;
    let web = service("shop", "web");
    let digest = web.image.digest.clone();
    let id = bench.want_unpublished("shop", revision(vec![web])).await;
    let error = |message: &str| RuntimeError::Retry {
        operation: "pull".into(),
        message: message.into(),
        after: None,
        engine_unreachable: false,
    };
    bench.runtime.unpublish(&digest, error("the registry is on fire"));
    bench.reconciler.wake(id);
    bench.settle().await;
    for _ in 0..3 {
        bench.wait(100).await;
    }
    let why = bench.why(id).await;
    assert_eq!(why.matches("on fire").count(), 1, "{why}");
    assert!(why.contains("failed as before, 3 times in a row now"), "{why}");
    assert!(why.contains("the last attempt failed, and it is time for the next"), "{why}");
    let message = bench.report(id, "web").await.waiting.unwrap().message;
    assert!(message.contains("on fire"), "what is shown now has it in full: {message}");
    bench.runtime.unpublish(&digest, error("the registry is flooded"));
    bench.wait(400).await;
    let why = bench.why(id).await;
    assert_eq!(why.matches("flooded").count(), 1, "{why}");
}

#[tokio::test]
async fn a_first_restart_by_the_engine_counts_nothing_yet() {
    let mut bench = Bench::new().await;
    let id = bench.install("shop", revision(vec![service("shop", "web")])).await;
    let container = bench.runtime.id_of("shop-web");
    let mut messages = Vec::new();
    for _ in 0..3 {
        bench.runtime.exit(&container, 1);
        bench.settle().await;
        messages.push(bench.report(id, "web").await.waiting.unwrap().message);
        bench.clock.advance(std::time::Duration::from_secs(1));
        bench.runtime.engine_restarts(&container);
        bench.settle().await;
    }
    assert_eq!(
        messages,
        [
            "the engine restarts it",
            "the engine restarts it (once within 5 minutes so far)",
            "the engine restarts it (2 times within 5 minutes so far)"
        ]
    );
}

#[tokio::test]
async fn a_login_or_room_that_is_there_at_last_is_used_at_once() {
    for reason in [ChangeNeeded::Authentication, ChangeNeeded::DiskFull] {
        let mut bench = Bench::new().await;
        let web = service("shop", "web");
        let digest = web.image.digest.clone();
        let id = bench.want_unpublished("shop", revision(vec![web])).await;
        let error = RuntimeError::WaitForChange { operation: "pull".into(), message: "no".into(), reason };
        bench.runtime.unpublish(&digest, error);
        let around =
            |free: u64, logins| crate::runtime::Surroundings { free_bytes: Some(free << 30), logins };
        bench.runtime.set_surroundings(around(1, 1));
        bench.reconciler.shared.look_around().await.unwrap();
        bench.reconciler.wake(id);
        bench.settle().await;
        assert_eq!(bench.status(id).await, InstallationStatus::Failed);
        bench.runtime.publish(&digest, &[], false);
        let pulls =
            |bench: &Bench| bench.runtime.calls().iter().filter(|call| call.operation == "pull").count();
        let before = pulls(&bench);
        let other = match reason {
            ChangeNeeded::DiskFull => around(1, 2),
            _ => around(2, 1),
        };
        bench.runtime.set_surroundings(other);
        bench.reconciler.shared.look_around().await.unwrap();
        bench.settle().await;
        assert_eq!(pulls(&bench), before, "{reason:?}: it was something else that changed");
        bench.runtime.set_surroundings(around(2, 2));
        bench.reconciler.shared.look_around().await.unwrap();
        bench.settle().await;
        assert_eq!(bench.status(id).await, InstallationStatus::Active, "{reason:?}");
    }
}
