//! Who did what, who owns a name, how much may be done at once, and the table of moves, each held by the database.

use std::time::Duration;

use addon_client::AuditReport;
use service_kit::db::Db;
use service_kit::write_tx;

use super::{
    Action, Actor, Decision, InsertError, LEASE, Post, Published, Release, Status, Storage, at, by, post,
    publish, verdicted, verify,
};
use crate::domain::limits::{Bucket, Kind, Limits};
use crate::domain::transition::after;
use crate::storage::{AuditFilter, Invited, Removal, StorageError};

/// Runs a statement of a test's own.
async fn execute(storage: &Storage, sql: &'static str) -> Result<u64, StorageError> {
    Ok(write_tx!(storage.db(), |tx| sqlx::query(sql).execute(&mut *tx).await?.rows_affected()))
}

/// What somebody does first who wants to change the log.
async fn without_triggers(storage: &Storage) {
    let statements: &[&'static str] = match storage.db() {
        Db::Sqlite { .. } => &[
            "DROP TRIGGER audit_no_update",
            "DROP TRIGGER audit_no_delete",
            "DROP TRIGGER audit_chain_no_update",
            "DROP TRIGGER audit_chain_no_delete",
        ],
        Db::Postgres(_) => {
            &["DROP TRIGGER audit_no_change ON audit", "DROP TRIGGER audit_chain_no_change ON audit_chain"]
        }
    };
    for sql in statements {
        execute(storage, sql).await.unwrap();
    }
}

async fn rows(storage: &Storage, filter: AuditFilter<'_>) -> Vec<String> {
    let rows = storage.audit(AuditFilter { limit: filter.limit.max(1), ..filter }).await.unwrap();
    rows.into_iter().map(|row| format!("{} {}", row.account, row.action)).collect()
}

fn all<'a>() -> AuditFilter<'a> {
    AuditFilter { limit: 100, ..AuditFilter::default() }
}

async fn chained(storage: &Storage) -> AuditReport {
    while storage.chain_audit(3).await.unwrap() > 0 {}
    storage.verify_audit().await.unwrap()
}

pub(super) async fn every_decision_writes_its_row(storage: &Storage) {
    let release = publish(storage, "probe", "x", None).await;
    let failed = verify(storage, Status::VerificationFailed, 1).await;
    assert!(
        storage
            .reverify(&failed, Status::UnderReview, false, Some("again"), &by("rita"), at(2))
            .await
            .unwrap()
    );
    verify(storage, Status::VerificationFailed, 3).await;
    assert!(matches!(post("probe", "x", None).send(storage).await.unwrap(), Published::Again(_)));
    let held = verify(storage, Status::UnderReview, 4).await;
    assert!(storage.approve(&held, held.digest, &by("rita"), Some("fine"), at(5)).await.unwrap());
    assert!(
        !storage.approve(&held, held.digest, &by("rita"), None, at(5)).await.unwrap(),
        "it is no more held"
    );
    let approved = storage.release(release.id).await.unwrap().unwrap();
    let yank = Decision {
        from: Status::Approved,
        to: Status::Yanked,
        action: Action::Yank,
        reason: Some("bad"),
        by: &by("paul"),
        over_owners: false,
        now: at(6),
    };
    assert!(storage.decide(&approved, yank).await.unwrap());
    assert!(!storage.decide(&approved, yank).await.unwrap(), "what hits nothing is no change");
    let yanked = storage.release(release.id).await.unwrap().unwrap();
    assert!(storage.delete(&yanked, &by("paul"), None, at(7)).await.unwrap());
    assert_eq!(
        rows(storage, all()).await,
        [
            "paul release.delete",
            "paul release.yank",
            "rita release.approve",
            "paul release.repost",
            "rita release.reverify",
            "paul release.publish",
        ]
    );
    let id = release.id.to_string();
    let row = storage.audit(AuditFilter { action: Some("release.yank"), ..all() }).await.unwrap().remove(0);
    assert_eq!((row.at, row.reason.as_deref()), (at(6), Some("bad")));
    assert_eq!((row.subject.kind.as_str(), row.subject.id), ("release", id.clone()));
    assert_eq!((&row.detail["from"], &row.detail["to"]), (&"approved".into(), &"yanked".into()));
    assert_eq!(row.detail["digest"], release.digest.to_string());
    assert_eq!(
        rows(storage, AuditFilter { subject: Some(&id), account: Some("rita"), ..all() }).await.len(),
        2
    );
}

pub(super) async fn rows_of_the_log_are_found_and_come_in_parts(storage: &Storage) {
    for n in 0..5 {
        let (name, publisher) = (format!("a-{n}"), if n % 2 == 0 { "paul" } else { "mary" });
        let post = Post { name: &name, publisher, second: n, ..post("", "x", None) };
        post.send(storage).await.unwrap();
    }
    assert_eq!(rows(storage, AuditFilter { account: Some("mary"), ..all() }).await.len(), 2);
    assert_eq!(rows(storage, AuditFilter { since: Some(at(3)), ..all() }).await.len(), 2);
    assert_eq!(rows(storage, AuditFilter { since: Some(at(9)), ..all() }).await.len(), 0);
    assert_eq!(rows(storage, AuditFilter { action: Some("release.delete"), ..all() }).await.len(), 0);
    assert_eq!(rows(storage, AuditFilter { subject: Some("none"), ..all() }).await.len(), 0);
    let first = storage.audit(AuditFilter { limit: 3, ..all() }).await.unwrap();
    let rest = storage.audit(AuditFilter { before: Some(first[2].seq), ..all() }).await.unwrap();
    let numbers: Vec<i64> = first.iter().chain(&rest).map(|row| row.seq).collect();
    assert_eq!(numbers.len(), 5);
    assert!(numbers.is_sorted_by(|a, b| a > b), "the newest first: {numbers:?}");
}

pub(super) async fn the_log_refuses_to_be_changed(storage: &Storage) {
    publish(storage, "probe", "x", None).await;
    chained(storage).await;
    // What only SQLite knows.
    let replacing = matches!(storage.db(), Db::Sqlite { .. }).then_some(
        "INSERT OR REPLACE INTO audit (seq, at_ms, account, action, subject_kind, subject_id, detail)
         SELECT seq, at_ms, 'mallory', action, subject_kind, subject_id, detail FROM audit",
    );
    for sql in [
        "UPDATE audit SET account = 'mallory'",
        "DELETE FROM audit",
        "UPDATE audit_chain SET hash = ''",
        "DELETE FROM audit_chain",
    ]
    .into_iter()
    .chain(replacing)
    {
        let refused = execute(storage, sql).await.unwrap_err();
        let StorageError::Database(cause) = refused else { panic!("{refused}") };
        assert!(cause.to_string().contains("only grows"), "{sql}: {cause}");
    }
    assert_eq!(rows(storage, all()).await, ["paul release.publish"]);
}

pub(super) async fn checking_the_log_names_what_was_altered_and_what_is_gone(storage: &Storage) {
    for n in 0..8 {
        publish(storage, &format!("a-{n}"), "x", None).await;
    }
    let open = storage.verify_audit().await.unwrap();
    assert!(open.intact, "{open:?}");
    assert_eq!((open.checked, open.not_chained.len()), (0, 8));
    let report = chained(storage).await;
    assert!(report.intact, "{report:?}");
    assert_eq!((report.checked, report.position, report.not_chained.len()), (8, 8, 0));
    assert!(report.hash.starts_with("sha256:"));
    let all = storage.audit(all()).await.unwrap();
    assert!(all.iter().all(|row| row.hash.is_some()), "{all:?}");
    assert_eq!(all[0].hash.as_ref(), Some(&report.hash));
    // On PostgreSQL too numbers begin with 1 in a database of the test's own.
    assert_eq!(all.last().map(|row| row.seq), Some(1));

    without_triggers(storage).await;
    execute(storage, "UPDATE audit SET account = 'mallory' WHERE seq = 2").await.unwrap();
    let report = storage.verify_audit().await.unwrap();
    assert_eq!((report.intact, report.altered.as_slice()), (false, &[2][..]), "{report:?}");
    execute(storage, "UPDATE audit SET account = 'paul' WHERE seq = 2").await.unwrap();
    assert!(storage.verify_audit().await.unwrap().intact);

    // Two that change places are both altered.
    for sql in [
        "UPDATE audit SET seq = 100 WHERE seq = 5",
        "UPDATE audit SET seq = 5 WHERE seq = 6",
        "UPDATE audit SET seq = 6 WHERE seq = 100",
    ] {
        if matches!(storage.db(), Db::Sqlite { .. }) {
            execute(storage, sql).await.unwrap();
        }
    }
    if matches!(storage.db(), Db::Sqlite { .. }) {
        let report = storage.verify_audit().await.unwrap();
        assert_eq!(report.altered, [5, 6], "{report:?}");
    }

    execute(storage, "DELETE FROM audit WHERE seq = 3").await.unwrap();
    let report = storage.verify_audit().await.unwrap();
    assert_eq!((report.intact, report.missing.as_slice()), (false, &[3][..]), "{report:?}");

    // A row that has no place in the chain came to stand there later.
    execute(storage, "DELETE FROM audit_chain WHERE seq = 4").await.unwrap();
    let report = storage.verify_audit().await.unwrap();
    assert_eq!(
        (report.missing_links.as_slice(), report.inserted.as_slice()),
        (&[4][..], &[4][..]),
        "{report:?}"
    );

    // The end cut off, rows and chain.
    execute(storage, "DELETE FROM audit WHERE seq > 6").await.unwrap();
    execute(storage, "DELETE FROM audit_chain WHERE seq > 6").await.unwrap();
    let report = storage.verify_audit().await.unwrap();
    assert_eq!((report.intact, report.missing_links.as_slice()), (false, &[4, 7, 8][..]), "{report:?}");
    execute(storage, "UPDATE audit_head SET hash = 'other', position = 6, seq = 6").await.unwrap();
    assert!(!storage.verify_audit().await.unwrap().intact, "a head that does not fit");
}

pub(super) async fn rows_are_chained_in_order_beside_writers(storage: &Storage) {
    let writers = (0..6).map(|writer| {
        let storage = storage.clone();
        tokio::spawn(async move {
            for n in 0..12 {
                publish(&storage, &format!("w{writer}-{n}"), "x", None).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let written = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let chainers = (0..2).map(|_| {
        let (storage, written) = (storage.clone(), written.clone());
        tokio::spawn(async move {
            while !written.load(std::sync::atomic::Ordering::Acquire) {
                storage.chain_audit(7).await.unwrap();
                tokio::task::yield_now().await;
            }
            while storage.chain_audit(7).await.unwrap() > 0 {}
        })
    });
    let chainers: Vec<_> = chainers.collect();
    for writer in writers {
        writer.await.unwrap();
    }
    written.store(true, std::sync::atomic::Ordering::Release);
    for chainer in chainers {
        chainer.await.unwrap();
    }
    let report = storage.verify_audit().await.unwrap();
    assert!(report.intact, "{report:?}");
    assert_eq!((report.checked, report.not_chained.len()), (72, 0));
}

pub(super) async fn the_first_publisher_owns_a_name(storage: &Storage) {
    publish(storage, "probe", "x", None).await;
    assert!(storage.owns("probe", "paul").await.unwrap());
    let mary = Post { publisher: "mary", ..post("probe", "y", None) };
    assert!(matches!(mary.send(storage).await, Err(InsertError::NotOwner)));
    let same = Post { publisher: "mary", ..post("probe", "x", None) };
    assert!(matches!(same.send(storage).await, Err(InsertError::NotOwner)), "the same document too");
    let release = storage.list(super::Filter {
        addon: Some("probe"),
        status: Some(Status::UnderReview),
        publisher: Some("mary"),
        after: 0,
        limit: 10,
    });
    assert!(release.await.unwrap().releases.is_empty(), "nor does she see it");
    let release = storage.release_of_version("probe", "0.1.0").await.unwrap().unwrap();
    assert!(storage.delete(&release, &by("paul"), None, at(1)).await.unwrap());
    assert!(
        matches!(mary.send(storage).await, Err(InsertError::NotOwner)),
        "a deleted name stays whose it was"
    );
}

pub(super) async fn of_many_who_publish_a_name_first_one_owns_it(storage: &Storage) {
    let posts = (0..8).map(|n| {
        let storage = storage.clone();
        tokio::spawn(async move {
            let publisher = format!("account-{n}");
            let post = Post { publisher: &publisher, ..post("probe", "x", None) };
            post.send(&storage).await
        })
    });
    let mut done = Vec::new();
    for post in posts.collect::<Vec<_>>() {
        done.push(post.await.unwrap());
    }
    assert_eq!(done.iter().filter(|done| matches!(done, Ok(Published::New(_)))).count(), 1, "{done:?}");
    assert_eq!(done.iter().filter(|done| matches!(done, Err(InsertError::NotOwner))).count(), 7, "{done:?}");
    assert_eq!(storage.owners("probe").await.unwrap().len(), 1);
}

pub(super) async fn owners_are_invited_accept_and_go(storage: &Storage) {
    publish(storage, "probe", "x", None).await;
    let (paul, mary) = (by("paul"), by("mary"));
    assert!(!storage.accept_invitation("probe", &mary, at(1)).await.unwrap(), "nobody invited her");
    assert_eq!(storage.invite("probe", "paul", &paul, at(1)).await.unwrap(), Invited::Owner);
    assert_eq!(storage.invite("probe", "mary", &paul, at(1)).await.unwrap(), Invited::Invited);
    assert_eq!(storage.invitations_to("mary", at(2)).await.unwrap()[0].invited_by, "paul");
    assert!(!storage.owns("probe", "mary").await.unwrap(), "she has not said yes");
    let month = 30 * 24 * 60 * 60;
    assert!(!storage.accept_invitation("probe", &mary, at(1 + month)).await.unwrap(), "it is over");
    assert!(storage.invitations_of("probe", at(1 + month)).await.unwrap().is_empty());
    assert!(storage.accept_invitation("probe", &mary, at(month)).await.unwrap());
    assert!(storage.owns("probe", "mary").await.unwrap());
    assert!(!storage.accept_invitation("probe", &mary, at(month)).await.unwrap(), "once");

    let remove = async |account: &str, by: &Actor| {
        storage.remove_owner("probe", account, by, None, at(9)).await.unwrap()
    };
    assert_eq!(remove("zoe", &mary).await, Removal::Neither);
    assert_eq!(storage.invite("probe", "zoe", &mary, at(1)).await.unwrap(), Invited::Invited);
    assert_eq!(remove("zoe", &mary).await, Removal::Withdrawn);
    assert_eq!(storage.invite("probe", "zoe", &mary, at(1)).await.unwrap(), Invited::Invited);
    assert!(storage.decline_invitation("probe", &by("zoe"), at(2)).await.unwrap());
    assert!(!storage.decline_invitation("probe", &by("zoe"), at(2)).await.unwrap());
    assert_eq!(storage.invite("probe", "mallory", &paul, at(2)).await.unwrap(), Invited::Invited);
    assert_eq!(storage.invite("probe", "zoe", &mary, at(2)).await.unwrap(), Invited::Invited);
    assert_eq!(remove("paul", &mary).await, Removal::Removed);
    assert!(!storage.accept_invitation("probe", &by("mallory"), at(3)).await.unwrap(), "it went with paul");
    assert!(storage.decline_invitation("probe", &by("zoe"), at(3)).await.unwrap(), "mary's did not");
    assert_eq!(storage.invite("probe", "ZOE", &mary, at(2)).await.unwrap(), Invited::Invited);
    assert_eq!(storage.invitations_to("zoe", at(3)).await.unwrap().len(), 1, "accounts are one but for case");
    assert!(storage.decline_invitation("probe", &by("zoe"), at(3)).await.unwrap());
    assert_eq!(storage.invite("probe", "Mary", &mary, at(2)).await.unwrap(), Invited::Owner);
    assert_eq!(remove("mary", &mary).await, Removal::Last);
    assert!(storage.owns("probe", "mary").await.unwrap());
    assert_eq!(remove("mary", &Actor::host()).await, Removal::Removed, "an administrator can");
    let late = Post { publisher: "mary", ..post("probe", "y", None) };
    assert!(matches!(late.send(storage).await, Err(InsertError::NotOwner)));
    let actions = rows(storage, AuditFilter { subject: Some("probe"), ..all() }).await;
    assert_eq!(
        actions,
        [
            "host operator owner.remove",
            "zoe owner.decline",
            "mary owner.invite",
            "zoe owner.decline",
            "mary owner.remove",
            "mary owner.invite",
            "paul owner.invite",
            "zoe owner.decline",
            "mary owner.invite",
            "mary owner.withdraw",
            "mary owner.invite",
            "mary owner.accept",
            "paul owner.invite",
        ]
    );
}

pub(super) async fn of_two_last_owners_who_go_at_once_one_stays(storage: &Storage) {
    publish(storage, "probe", "x", None).await;
    assert_eq!(storage.invite("probe", "mary", &by("paul"), at(1)).await.unwrap(), Invited::Invited);
    assert!(storage.accept_invitation("probe", &by("mary"), at(2)).await.unwrap());
    let leave = |account: &'static str| {
        let storage = storage.clone();
        tokio::spawn(async move {
            storage.remove_owner("probe", account, &by(account), None, at(3)).await.unwrap()
        })
    };
    let (paul, mary) = (leave("paul"), leave("mary"));
    let mut both = [paul.await.unwrap(), mary.await.unwrap()];
    both.sort_by_key(|removal| *removal == Removal::Last);
    assert_eq!(both, [Removal::Removed, Removal::Last]);
}

fn limits() -> Limits {
    let bucket = |burst, seconds| Bucket { burst, interval: Duration::from_secs(seconds) };
    Limits {
        new_names: bucket(2, 600),
        new_versions: bucket(3, 60),
        withdrawals: bucket(1, 60),
        invitations: bucket(1, 60),
    }
}

pub(super) async fn buckets_fill_again_one_by_one(storage: &Storage) {
    let storage = storage.clone().with_limits(Some(limits()));
    let take = async |account: &str, second| {
        let limited = storage.take(&by(account), Kind::NewVersion, at(second)).await.unwrap();
        limited.map(|limited| limited.wait.as_secs())
    };
    for _ in 0..3 {
        assert_eq!(take("paul", 0).await, None);
    }
    assert_eq!(take("paul", 0).await, Some(60));
    assert_eq!(take("paul", 59).await, Some(1), "asking takes nothing");
    assert_eq!(take("mary", 59).await, None, "each account has its own");
    assert_eq!(take("paul", 60).await, None);
    assert_eq!(take("paul", 60).await, Some(60));
    assert_eq!(take("paul", 10_000).await, None);
    // Nor does a clock that was a year ahead keep anybody from publishing.
    for _ in 0..3 {
        assert_eq!(take("john", 31_536_000).await, None);
    }
    assert_eq!(take("john", 10_000).await, None);
    assert_eq!(storage.take(&Actor::host(), Kind::NewVersion, at(0)).await.unwrap(), None);
}

pub(super) async fn a_name_too_many_leaves_nothing(storage: &Storage) {
    let storage = storage.clone().with_limits(Some(limits()));
    for name in ["a", "b"] {
        publish(&storage, name, "x", None).await;
    }
    for _ in 0..2 {
        let refused = post("c", "x", None).send(&storage).await;
        let Err(InsertError::Limited(limited)) = refused else { panic!("{refused:?}") };
        assert_eq!((limited.kind, limited.wait.as_secs()), (Kind::NewName, 600));
    }
    assert_eq!(storage.spelling("c").await.unwrap(), None, "the name is free");
    assert!(
        matches!(post("a", "x", None).send(&storage).await, Ok(Published::Existing(_))),
        "a retry is free"
    );
    for n in 0..3 {
        publish(&storage, "a", &n.to_string(), None).await;
    }
    let refused = post("a", "one more", None).send(&storage).await;
    assert!(matches!(refused, Err(InsertError::Limited(limited)) if limited.kind == Kind::NewVersion));
    let late = Post { second: 600, ..post("c", "x", None) };
    assert!(matches!(late.send(&storage).await, Ok(Published::New(_))));
    assert_eq!(rows(&storage, all()).await.len(), 6, "what was refused is in no log");
}

/// A release that stands like this, with green checks and nothing in the queue.
async fn standing(storage: &Storage, name: &str, status: Status) -> Release {
    let release = publish(storage, name, "x", Some("1.0.0")).await;
    let (id, now) = (release.id.to_string(), at(1).millis());
    async fn stand(storage: &Storage, id: &str, status: Status, now: i64) -> Result<(), StorageError> {
        write_tx!(storage.db(), |tx| {
            sqlx::query("DELETE FROM verification_jobs").execute(&mut *tx).await?;
            let sql = "UPDATE releases SET status = $2, verdict = 'pass', approved_at_ms = $3 WHERE id = $1";
            sqlx::query(sql).bind(id).bind(status.as_str()).bind(now).execute(&mut *tx).await?;
        });
        Ok(())
    }
    stand(storage, &id, status, now).await.unwrap();
    storage.release(release.id).await.unwrap().unwrap()
}

/// Does it as its caller would who believes that the release stands as the table wants it; whether something changed.
async fn act(storage: &Storage, release: &Release, action: Action) -> bool {
    let to = Status::ALL.into_iter().find_map(|from| after(from, action).ok()).unwrap();
    let legal_from = Status::ALL.into_iter().find(|from| after(*from, action).is_ok()).unwrap();
    let from = if after(release.status, action).is_ok() { release.status } else { legal_from };
    let to = after(from, action).unwrap_or(to);
    let believed = Release { status: from, ..release.clone() };
    let rita = by("rita");
    match action {
        Action::Approve => storage.approve(&believed, release.digest, &rita, None, at(2)).await.unwrap(),
        Action::Reverify => storage.reverify(&believed, to, false, None, &rita, at(2)).await.unwrap(),
        Action::Repost => {
            let post = post(&release.addon, "x", Some("1.0.0")).send(storage).await.unwrap();
            matches!(post, Published::Again(_))
        }
        Action::Pass | Action::Fail => {
            let sql = "INSERT INTO verification_jobs (release_id, purpose, due_at_ms, attempts, publisher, turn)
                       SELECT id, 'review', 0, 0, publisher, 1 FROM releases WHERE seq = (SELECT MAX(seq) FROM releases)";
            execute(storage, sql).await.unwrap();
            let job = storage.claim("worker", at(2), LEASE, None).await.unwrap().unwrap();
            assert_eq!(job.release.id, release.id);
            storage.record_verdict(&job, &verdicted(to), at(2)).await.unwrap()
        }
        Action::Reject | Action::Yank | Action::Unyank | Action::Revoke => {
            let decision =
                Decision { from, to, action, reason: None, by: &rita, over_owners: false, now: at(2) };
            storage.decide(&believed, decision).await.unwrap()
        }
    }
}

pub(super) async fn every_status_allows_the_moves_of_the_table_and_no_other(storage: &Storage) {
    for (n, status) in Status::ALL.into_iter().enumerate() {
        for action in Action::ALL {
            let release = standing(storage, &format!("{}-{n}", action.as_str()), status).await;
            let expected = after(status, action);
            let changed = act(storage, &release, action).await;
            let now = storage.release(release.id).await.unwrap().unwrap();
            assert_eq!(changed, expected.is_ok(), "{status} {action:?}");
            assert_eq!(now.status, expected.unwrap_or(status), "{status} {action:?}");
        }
    }
}
