//! What is remembered of registries, and when images are looked for again.

use std::time::Duration;

use addon_descriptor::Digest;

use super::{LEASE, Storage, at, by, publish, verify};
use crate::domain::release::{Release, Status};
use crate::storage::Purpose;

/// An approved release whose checks were made at second 0.
async fn approved(storage: &Storage, name: &str) -> Release {
    publish(storage, name, "x", None).await;
    verify(storage, Status::Approved, 0).await
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const DAY_SECONDS: i64 = 24 * 3600;

pub(super) async fn parts_are_remembered_by_repository_and_digest(storage: &Storage) {
    let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
    let found = async |repository: &str, digest, since| {
        storage.registry_part(repository, digest, at(since)).await.unwrap()
    };
    assert_eq!(found("r/a", &one, 0).await, None);
    let parts = [(other, "two".to_owned()), (one, "one".to_owned())];
    storage.keep_registry_parts("r/a", &parts, at(1)).await.unwrap();
    assert_eq!(found("r/a", &one, 0).await.as_deref(), Some("one"));
    assert_eq!(found("r/a", &other, 1).await.as_deref(), Some("two"));
    assert_eq!(found("r/a", &one, 2).await, None, "it is older than what is asked for");
    assert_eq!(found("r/b", &one, 0).await, None, "another repository may not have it");
    storage.keep_registry_parts("r/a", &[(one, "again".to_owned())], at(2)).await.unwrap();
    assert_eq!(found("r/a", &one, 2).await.as_deref(), Some("again"));
}

pub(super) async fn the_oldest_parts_are_forgotten_first(storage: &Storage) {
    for n in 0..10_u8 {
        let part = [(Digest::of(&[n]), n.to_string())];
        storage.keep_registry_parts("r/a", &part, at(n.into())).await.unwrap();
    }
    assert_eq!(storage.prune_registries(10, at(20)).await.unwrap(), 0);
    assert_eq!(storage.prune_registries(4, at(20)).await.unwrap(), 6);
    for n in 0..10_u8 {
        let found = storage.registry_part("r/a", &Digest::of(&[n]), at(0)).await.unwrap();
        assert_eq!(found.is_some(), n >= 6, "{n}");
    }
    assert_eq!(storage.prune_registries(0, at(20)).await.unwrap(), 4);
}

pub(super) async fn the_longest_pause_of_a_registry_counts(storage: &Storage) {
    assert_eq!(storage.registry_pause("r").await.unwrap(), None);
    for (until, expected) in [(10, 10), (5, 10), (20, 20)] {
        storage.keep_registry_pause("r", at(until)).await.unwrap();
        assert_eq!(storage.registry_pause("r").await.unwrap(), Some(at(expected)));
    }
    storage.prune_registries(10, at(19)).await.unwrap();
    assert_eq!(storage.registry_pause("r").await.unwrap(), Some(at(20)));
    storage.prune_registries(10, at(20)).await.unwrap();
    assert_eq!(storage.registry_pause("r").await.unwrap(), None);
}

pub(super) async fn approved_releases_are_looked_at_once_an_interval(storage: &Storage) {
    let release = approved(storage, "probe").await.id;
    let schedule =
        async |second: i64| storage.schedule_rechecks(DAY, 10, at(second), || 0.5).await.unwrap().0;
    assert_eq!(schedule(60).await, 0, "it was looked at just now");
    assert_eq!(schedule(DAY_SECONDS - 60).await, 0);
    assert_eq!(schedule(DAY_SECONDS + 60).await, 1);
    assert_eq!(schedule(DAY_SECONDS + 60).await, 0, "once");
    let now = at(DAY_SECONDS + 60);
    let job = storage.claim("w", now, LEASE, None).await.unwrap().unwrap();
    assert_eq!((job.release.id, job.purpose), (release, Purpose::Recheck));
    assert!(job.is_scheduled());
    assert!(storage.record_recheck(&job, &[], None, None, now).await.unwrap());
    assert_eq!(schedule(DAY_SECONDS + 120).await, 0);
    let later = at(2 * DAY_SECONDS + 120);
    assert_eq!(schedule(2 * DAY_SECONDS + 120).await, 1);
    // Whoever records may say when.
    let job = storage.claim("w", later, LEASE, None).await.unwrap().unwrap();
    assert!(storage.record_recheck(&job, &[], None, Some(later + DAY / 2), later).await.unwrap());
    assert_eq!(schedule(2 * DAY_SECONDS + 180).await, 0);
    assert_eq!(schedule(3 * DAY_SECONDS).await, 1);
}

pub(super) async fn what_the_schedule_asks_for_comes_last(storage: &Storage) {
    let asked = approved(storage, "asked").await;
    approved(storage, "probe").await;
    let now = at(10 * DAY_SECONDS);
    assert_eq!(storage.schedule_rechecks(DAY, 10, now, || 0.0).await.unwrap(), (2, false));
    for n in 0..3 {
        publish(storage, &format!("new-{n}"), "x", None).await;
    }
    // Somebody asks for what the schedule had asked for.
    assert!(storage.reverify(&asked, Status::Approved, false, None, &by("mary"), now).await.unwrap());
    let mut taken = Vec::new();
    while let Some(job) = storage.claim("w", now, LEASE, None).await.unwrap() {
        // What is put off comes before it all the same.
        if job.release.addon == "new-0" && job.attempts == 1 {
            assert!(storage.postpone(&job, &[], "away", now, now).await.unwrap());
        }
        taken.push((job.release.addon.clone(), job.is_scheduled()));
    }
    assert_eq!(taken.pop(), Some(("probe".to_owned(), true)));
    assert!(taken.iter().all(|(_, scheduled)| !scheduled) && taken.len() == 5, "{taken:?}");
    // Nor does a publisher's next job stand behind it.
    publish(storage, "newest", "x", None).await;
    assert_eq!(storage.claim("w", now, LEASE, None).await.unwrap().unwrap().release.addon, "newest");
    assert!(storage.claim("w", now, LEASE, None).await.unwrap().is_none());
}

pub(super) async fn what_is_not_approved_is_not_looked_at(storage: &Storage) {
    let release = approved(storage, "probe").await;
    publish(storage, "failed", "x", None).await;
    verify(storage, Status::VerificationFailed, 0).await;
    publish(storage, "new", "x", None).await;
    assert!(storage.reverify(&release, Status::Approved, false, None, &by("paul"), at(3)).await.unwrap());
    for n in 1..4 {
        let now = at(n * 10 * DAY_SECONDS);
        let scheduled = storage.schedule_rechecks(DAY, 10, now, || 0.0).await.unwrap();
        assert_eq!(scheduled, (0, false), "one waits already");
    }
    assert_eq!(storage.queue_depth().await.unwrap(), 2);
}

pub(super) async fn so_many_rechecks_wait_and_no_more(storage: &Storage) {
    for n in 0..5 {
        approved(storage, &format!("probe-{n}")).await;
    }
    let later = at(10 * DAY_SECONDS);
    let schedule = async || storage.schedule_rechecks(DAY, 3, later, || 0.0).await.unwrap();
    assert_eq!(schedule().await, (3, true));
    assert_eq!(schedule().await, (0, true), "while three wait");
    assert_eq!(storage.rechecked().await.unwrap(), 5);
    for _ in 0..3 {
        let job = storage.claim("w", later, LEASE, None).await.unwrap().unwrap();
        assert!(storage.record_recheck(&job, &[], None, None, later).await.unwrap());
    }
    assert_eq!(schedule().await, (2, false));
}
