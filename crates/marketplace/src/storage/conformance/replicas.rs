//! Several processes on one PostgreSQL: what only there can go wrong.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use postgres_for_tests::Database;
use service_kit::clock::{Clock as _, SystemClock};
use tokio_util::sync::CancellationToken;

use super::server::{database, settings};
use super::{LEASE, Source, Status, Storage, at, listed, publish, verdicted, verify};

/// The longest that one replica may take to hear of what another did.
const HEARD: Duration = Duration::from_secs(1);

async fn replicas<const N: usize>() -> (Database, [Storage; N]) {
    let database = database().await;
    let mut opened = Vec::new();
    for _ in 0..N {
        opened.push(Storage::open_postgres(&settings(database.url())).await.unwrap());
    }
    (database, opened.try_into().unwrap_or_else(|_| unreachable!("so many were opened")))
}

async fn close(replicas: &[Storage]) {
    for replica in replicas {
        replica.db().close().await;
    }
}

/// Waits for an epoch to end.
async fn ends(storage: &Storage, source: Source, before: u64) {
    let begun = Instant::now();
    while storage.epochs().of(source) == before {
        assert!(begun.elapsed() < HEARD, "{source:?} holds still");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_workers_at_once_verify_each_release_once() {
    const RELEASES: usize = 60;
    let (_database, replicas) = replicas::<10>().await;
    for n in 0..RELEASES {
        publish(&replicas[0], &format!("probe-{n}"), "x", None).await;
    }
    let workers = replicas.clone().into_iter().enumerate().map(|(n, storage)| {
        tokio::spawn(async move {
            let mut mine = Vec::new();
            while let Some(job) = storage.claim(&format!("worker-{n}"), at(1), LEASE, None).await.unwrap() {
                assert_eq!(job.attempts, 1);
                assert!(storage.record_verdict(&job, &verdicted(Status::Approved), at(2)).await.unwrap());
                mine.push(job.release.id);
            }
            mine
        })
    });
    let mut done = HashMap::new();
    for worker in workers.collect::<Vec<_>>() {
        for id in worker.await.unwrap() {
            *done.entry(id).or_insert(0) += 1;
        }
    }
    assert_eq!(done.len(), RELEASES);
    assert!(done.values().all(|times| *times == 1), "{done:?}");
    assert_eq!(listed(&replicas[9]).await.len(), RELEASES);
    close(&replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_replica_held_is_taken_over_when_its_lease_is_over_and_not_before() {
    let (_database, replicas) = replicas::<2>().await;
    let [dead, alive] = &replicas;
    publish(dead, "probe", "x", None).await;
    let lost = dead.claim("dead", at(0), LEASE, None).await.unwrap().unwrap();
    // A start of another replica takes nothing from one that may be alive.
    assert_eq!(alive.reclaim().await.unwrap(), 0);
    assert!(alive.claim("alive", at(59), LEASE, None).await.unwrap().is_none());
    let job = alive.claim("alive", at(60), LEASE, None).await.unwrap().unwrap();
    assert_eq!((job.release.id, job.attempts), (lost.release.id, 2));
    // It was only slow: what it found counts no more.
    assert!(!dead.record_verdict(&lost, &verdicted(Status::VerificationFailed), at(61)).await.unwrap());
    assert!(alive.record_verdict(&job, &verdicted(Status::Approved), at(61)).await.unwrap());
    assert_eq!(dead.release(lost.release.id).await.unwrap().unwrap().status, Status::Approved);
    close(&replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_others_end_epochs_and_ones_own_do_not_end_twice() {
    let (_database, replicas) = replicas::<2>().await;
    let [one, other] = &replicas;
    let stop = CancellationToken::new();
    let heard = std::sync::Arc::new(tokio::sync::Notify::new());
    let following = replicas.clone().map(|storage| {
        let heard = heard.clone();
        tokio::spawn(storage.follow(move || heard.notify_one(), stop.clone()))
    });
    // Both have read once: then they follow.
    for storage in &replicas {
        ends(storage, Source::Approved, 0).await;
    }
    let release = publish(one, "probe", "x", None).await;
    let source = Source::Release(release.id);
    let mut news = other.news();
    let before = other.epochs().of(source);
    verify(one, Status::Approved, 1).await;
    let own = one.epochs().of(source);
    ends(other, source, before).await;
    news.changed().await.unwrap();
    tokio::time::timeout(HEARD, heard.notified()).await.unwrap();

    // What is found first changes with installations too.
    let before = other.epochs().of(Source::Approved);
    let report = addon_client::InstallReport { addon: "probe".to_owned(), report: format!("{:032x}", 1) };
    one.count_install("probe", &report, at(2)).await.unwrap();
    ends(other, Source::Approved, before).await;

    // Its own change is not news to the one that made it, however often it looks.
    let looked = SystemClock.now() + Duration::from_secs(1);
    while SystemClock.now() < looked {
        assert_eq!(one.epochs().of(source), own);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    for task in following {
        task.await.unwrap();
    }
    close(&replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_commits_late_is_not_overlooked() {
    let (database, replicas) = replicas::<2>().await;
    let [one, other] = &replicas;
    let early = publish(one, "early", "x", None).await;
    let late = publish(one, "late", "x", None).await;
    let stop = CancellationToken::new();
    let following = tokio::spawn(other.clone().follow(|| (), stop.clone()));
    ends(other, Source::Approved, 0).await;

    // The first transaction of the two commits last: a number that only grows would have passed it by.
    let service_kit::db::Db::Postgres(pool) = one.db() else { panic!("it is PostgreSQL") };
    let mut open = pool.begin().await.unwrap();
    let sql = "UPDATE releases SET reason = 'slow' WHERE id = $1";
    sqlx::query(sql).bind(late.id.to_string()).execute(&mut *open).await.unwrap();
    let before = other.epochs().of(Source::Release(early.id));
    database.sql(&format!("UPDATE releases SET reason = 'quick' WHERE id = '{}'", early.id));
    ends(other, Source::Release(early.id), before).await;
    let before = other.epochs().of(Source::Release(late.id));
    open.commit().await.unwrap();
    // Told by its connections, it is another replica's.
    assert_ne!(one.replica(), other.replica());
    ends(other, Source::Release(late.id), before).await;
    stop.cancel();
    following.await.unwrap();
    close(&replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_posts_at_two_replicas_make_one_release() {
    let (_database, replicas) = replicas::<2>().await;
    for round in 0..10 {
        let name = format!("probe-{round}");
        let posts = replicas.clone().map(|storage| {
            let name = name.clone();
            tokio::spawn(async move { super::post(&name, "x", None).send(&storage).await.unwrap() })
        });
        let mut new = 0;
        for post in posts {
            new += u32::from(matches!(post.await.unwrap(), super::Published::New(_)));
        }
        assert_eq!(new, 1, "{name}");
    }
    close(&replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_number_at_once_give_each_event_one_number() {
    const RELEASES: usize = 60;
    let (_database, replicas) = replicas::<3>().await;
    let stop = CancellationToken::new();
    let numbering = replicas.clone().map(|storage| {
        let stop = stop.clone();
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                storage.number_events(3, at(1)).await.unwrap();
            }
        })
    });
    // A reader that goes by numbers alone is never passed by.
    let reader = replicas[2].clone();
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < RELEASES {
            let after = i64::try_from(seen.len()).unwrap();
            for numbered in reader.events_after(after, 7).await.unwrap() {
                seen.push(numbered.event.name);
                assert_eq!(numbered.position, i64::try_from(seen.len()).unwrap());
            }
        }
        seen
    });
    for n in 0..RELEASES {
        publish(&replicas[0], &format!("probe-{n}"), "x", None).await;
    }
    let approving = replicas.clone().into_iter().map(|storage| {
        tokio::spawn(async move {
            while let Some(job) = storage.claim("worker", at(1), LEASE, None).await.unwrap() {
                assert!(storage.record_verdict(&job, &verdicted(Status::Approved), at(2)).await.unwrap());
            }
        })
    });
    futures_util::future::join_all(approving).await;
    let seen = tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap().unwrap();
    let names: std::collections::HashSet<&String> = seen.iter().collect();
    assert_eq!(names.len(), RELEASES);
    stop.cancel();
    futures_util::future::join_all(numbering).await;
    close(&replicas).await;
}
