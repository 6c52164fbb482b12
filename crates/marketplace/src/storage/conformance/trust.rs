//! What is signed: which releases the index has and when it is built again, one signed document after the other, and
//! revocations, which only grow.

use std::collections::BTreeSet;

use addon_client::Pin;
use addon_client::trust::{KeyId, ListedRelease, ListedStatus, PublicKey, Severity, ShardId, ShardSummary};
use addon_descriptor::Digest;
use service_kit::write_tx;

use super::{Decision, LEASE, Release, Status, Storage, at, by, listed, publish, verdicted, verify};
use crate::domain::transition::Action;
use crate::storage::{
    AuditFilter, KeyChange, Revoked, Revoking, Signed, SignedDocument, StorageError, Verdicted,
};
use crate::trust::key_file;

/// Builds what there is to build; answers how many parts that were.
async fn build(storage: &Storage) -> usize {
    while storage.take_index_changes(2).await.unwrap() > 0 {}
    let unbuilt = storage.unbuilt_shards().await.unwrap();
    for (shard, changed) in &unbuilt {
        assert!(storage.build_shard(*shard, *changed).await.unwrap());
    }
    let state = storage.index_state().await.unwrap();
    assert!(!state.changes && !state.unbuilt, "{state:?}");
    unbuilt.len()
}

/// What the index says, in its order.
async fn lines(storage: &Storage) -> Vec<ListedRelease> {
    let (shards, _) = storage.shards().await.unwrap();
    let mut releases = Vec::new();
    for ShardSummary { shard, digest, bytes, entries } in shards {
        let (found, content) = storage.shard_content(shard, None).await.unwrap().unwrap();
        assert_eq!(
            storage.shard_content(shard, Some(digest)).await.unwrap(),
            Some((found.clone(), content.clone()))
        );
        assert_eq!(found, digest.to_string());
        assert_eq!((Digest::of(content.as_bytes()), content.len() as u64), (digest, bytes));
        let lines: Vec<ListedRelease> =
            content.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len() as u64, entries);
        assert!(lines.iter().all(|line| ShardId::of(&line.name.folded()) == shard));
        releases.extend(lines);
    }
    releases
}

async fn words(storage: &Storage) -> Vec<String> {
    let word = |line: ListedRelease| format!("{} {} {:?}", line.name, line.version, line.status);
    lines(storage).await.into_iter().map(word).collect()
}

async fn approved(storage: &Storage, name: &str, version: &str) -> Release {
    publish(storage, name, version, Some(version)).await;
    verify(storage, Status::Approved, 1).await
}

async fn decide(storage: &Storage, release: &Release, to: Status, action: Action) {
    let release = storage.release(release.id).await.unwrap().unwrap();
    let decision = Decision {
        from: release.status,
        to,
        action,
        reason: Some("r"),
        by: &by("rita"),
        over_owners: false,
        now: at(2),
    };
    assert!(storage.decide(&release, decision).await.unwrap());
}

async fn revoke(storage: &Storage, release: &Release, severity: Severity) -> bool {
    let release = storage.release(release.id).await.unwrap().unwrap();
    let (by, fixed_in) = (by("rita"), "9.0.0".parse().unwrap());
    let revoking = Revoking {
        from: release.status,
        severity,
        reason: "it leaks",
        fixed_in: Some(&fixed_in),
        by: &by,
        now: at(3),
    };
    storage.revoke(&release, revoking).await.unwrap() == Revoked::Done
}

pub(super) async fn the_index_follows_every_change_of_a_release(storage: &Storage) {
    let pending = publish(storage, "Probe.x", "x", Some("1.10.0")).await;
    assert!(!storage.index_state().await.unwrap().changes, "what nobody approved is in no index");
    let job = storage.claim("worker", at(1), LEASE, None).await.unwrap().unwrap();
    let pin = |digest: &str| Pin {
        service_name: "a".to_owned(),
        image: "registry.example/a:1".to_owned(),
        digest: Digest::of(digest.as_bytes()),
        platforms: Vec::new(),
        bytes: 1,
        manifests: Vec::new(),
    };
    let green = Verdicted { pins: vec![pin("b"), pin("a"), pin("b")], ..verdicted(Status::Approved) };
    assert!(storage.record_verdict(&job, &green, at(1)).await.unwrap());
    assert!(storage.index_state().await.unwrap().changes);
    assert_eq!(build(storage).await, 1);
    let expected = ListedRelease {
        digest: pending.digest,
        id: pending.id,
        images: BTreeSet::from([pin("a").digest, pin("b").digest]),
        name: "Probe.x".parse().unwrap(),
        status: ListedStatus::Approved,
        version: "1.10.0".parse().unwrap(),
    };
    assert_eq!(lines(storage).await, [expected]);

    let second = approved(storage, "Probe.x", "1.9.0").await;
    approved(storage, "Probe.x", "1.10.0-rc.1").await;
    build(storage).await;
    let ordered = ["1.9.0", "1.10.0-rc.1", "1.10.0"].map(|version| format!("Probe.x {version} Approved"));
    assert_eq!(words(storage).await, ordered, "in the order of versions");

    decide(storage, &second, Status::Yanked, Action::Yank).await;
    build(storage).await;
    assert_eq!(words(storage).await[0], "Probe.x 1.9.0 Yanked");
    decide(storage, &second, Status::Approved, Action::Unyank).await;
    build(storage).await;
    assert_eq!(words(storage).await[0], "Probe.x 1.9.0 Approved");
    assert!(revoke(storage, &second, Severity::Warn).await);
    build(storage).await;
    assert_eq!(words(storage).await[0], "Probe.x 1.9.0 Revoked");
    assert_eq!(build(storage).await, 0, "nothing changed");

    let other = approved(storage, "zulu", "1.0.0").await;
    build(storage).await;
    assert_eq!(words(storage).await.len(), 4);
    assert!(storage.delete(&other, &by("paul"), None, at(3)).await.unwrap());
    build(storage).await;
    assert_eq!(words(storage).await.len(), 3, "a part without releases is none");
    let (shards, covers) = storage.shards().await.unwrap();
    assert_eq!((shards.len(), covers), (1, storage.index_state().await.unwrap().built));
    assert_eq!(storage.shard_content(ShardId::of("zulu"), None).await.unwrap(), None);
}

pub(super) async fn a_part_that_changes_while_it_is_built_is_built_again(storage: &Storage) {
    approved(storage, "probe", "1.0.0").await;
    assert_eq!(storage.take_index_changes(100).await.unwrap(), 1);
    let seen = storage.unbuilt_shards().await.unwrap();
    approved(storage, "probe", "1.1.0").await;
    storage.take_index_changes(100).await.unwrap();
    let (shard, changed) = seen[0];
    assert!(!storage.build_shard(shard, changed).await.unwrap(), "there are more changes by now");
    assert_eq!(build(storage).await, 1);
    assert_eq!(words(storage).await.len(), 2);
}

pub(super) async fn long_parts_are_read_in_pieces(storage: &Storage) {
    // More than two pieces of one addon, written as an import writes them.
    let release = approved(storage, "probe", "1.0.0").await;
    for minor in 1..=1_100 {
        let sql = "INSERT INTO releases (id, addon, name, version, version_id, version_order, version_rank, digest, canonical,
                       wire, rights, risk, warnings, publisher, created_at_ms, status, verdict, held, pins, changed_at_ms)
                   SELECT $2, addon, name, $3, $3, $4, $4, digest, canonical, wire, rights, risk, warnings, publisher,
                       created_at_ms, 'approved', verdict, held, pins, changed_at_ms FROM releases WHERE id = $1";
        let insert = async || -> Result<(), StorageError> {
            write_tx!(storage.db(), |tx| {
                sqlx::query(sql)
                    .bind(release.id.to_string())
                    .bind(format!("{minor:024x}"))
                    .bind(format!("1.{minor}.0"))
                    .bind(format!("{minor:09}"))
                    .execute(&mut *tx)
                    .await?;
            });
            Ok(())
        };
        insert().await.unwrap();
    }
    while storage.take_index_changes(500).await.unwrap() > 0 {}
    assert_eq!(build(storage).await, 1);
    let found: BTreeSet<String> = words(storage).await.into_iter().collect();
    assert_eq!(found.len(), 1_101);
}

fn document(version: u64, second: i64) -> SignedDocument {
    let keyid: KeyId = PublicKey::of(&key_file::generate()).id();
    SignedDocument {
        version,
        keyid,
        keys: 3,
        covers: 7,
        created_at: at(second),
        expires_at: at(second + 100),
    }
}

pub(super) async fn one_signed_document_follows_the_other(storage: &Storage) {
    assert_eq!(storage.signed(Signed::Index).await.unwrap(), None);
    assert_eq!(storage.envelope(Signed::Index).await.unwrap(), None);
    let (first, second) = (document(1, 0), document(2, 1));
    assert!(storage.store_signed(Signed::Index, 0, &first, "one").await.unwrap());
    assert!(!storage.store_signed(Signed::Index, 0, &first, "another first one").await.unwrap());
    assert!(!storage.store_signed(Signed::Index, 5, &second, "after one that is not").await.unwrap());
    assert_eq!(storage.signed(Signed::Index).await.unwrap(), Some(first));
    let digest = Digest::of(b"one").to_string();
    assert_eq!(storage.envelope_digest(Signed::Index).await.unwrap(), Some(digest.clone()));
    assert_eq!(storage.envelope(Signed::Index).await.unwrap(), Some((digest, "one".to_owned())));
    let racing = (0..5).map(|n| {
        let (storage, document) = (storage.clone(), document(2, n));
        tokio::spawn(async move { storage.store_signed(Signed::Index, 1, &document, "two").await.unwrap() })
    });
    let mut stored = 0;
    for done in racing.collect::<Vec<_>>() {
        stored += u32::from(done.await.unwrap());
    }
    assert_eq!(stored, 1, "of many that sign at once one does");
    assert_eq!(storage.signed(Signed::Revocations).await.unwrap(), None, "each kind is its own");
}

pub(super) async fn what_a_part_was_is_served_for_a_moment(storage: &Storage) {
    let release = approved(storage, "probe", "1.0.0").await;
    build(storage).await;
    let (before, _) = storage.shards().await.unwrap();
    let there = async |summary: &ShardSummary| {
        storage.shard_content(summary.shard, Some(summary.digest)).await.unwrap().is_some()
    };
    assert!(storage.store_signed(Signed::Index, 0, &document(1, 0), "1").await.unwrap());
    decide(storage, &release, Status::Yanked, Action::Yank).await;
    build(storage).await;
    let (after, _) = storage.shards().await.unwrap();
    assert!(before[0].digest != after[0].digest && there(&before[0]).await && there(&after[0]).await);
    assert!(storage.store_signed(Signed::Index, 1, &document(2, 10), "2").await.unwrap());
    assert!(there(&before[0]).await, "who has just read the root before may fetch it");
    assert!(storage.store_signed(Signed::Index, 2, &document(3, 131), "3").await.unwrap());
    assert!(!there(&before[0]).await && there(&after[0]).await);
    // What comes back is as new.
    decide(storage, &release, Status::Approved, Action::Unyank).await;
    build(storage).await;
    assert!(storage.store_signed(Signed::Index, 3, &document(4, 132), "4").await.unwrap());
    decide(storage, &release, Status::Yanked, Action::Yank).await;
    build(storage).await;
    assert!(storage.store_signed(Signed::Index, 4, &document(5, 500), "5").await.unwrap());
    assert!(there(&after[0]).await);
}

pub(super) async fn key_sets_are_counted(storage: &Storage) {
    assert_eq!(storage.key_set(None).await.unwrap(), None);
    let (actor, key) = (by("rita"), PublicKey::of(&key_file::generate()).id());
    let change = KeyChange { by: &actor, action: "key.rotate", key };
    for (version, text) in [(1, "one"), (2, "two")] {
        assert!(storage.add_key_set(version, text, change, at(0)).await.unwrap());
        assert!(!storage.add_key_set(version, "another", change, at(0)).await.unwrap());
    }
    assert_eq!(storage.key_set(None).await.unwrap().as_deref(), Some("two"));
    assert_eq!(storage.key_set(Some(1)).await.unwrap().as_deref(), Some("one"));
    for none in [0, 3, u64::MAX] {
        assert_eq!(storage.key_set(Some(none)).await.unwrap(), None);
    }
    assert_eq!(storage.index_state().await.unwrap().keys, 2);
    let rows = storage.audit(AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
    assert_eq!(rows.len(), 2, "what was not added is in no log");
    assert!(rows.iter().all(|row| row.action == "key.rotate" && row.subject.id == key.to_string()));
}

pub(super) async fn a_revocation_is_for_good_and_in_the_feed(storage: &Storage) {
    let releases = [approved(storage, "probe", "1.0.0").await, approved(storage, "probe", "2.0.0").await];
    assert!(revoke(storage, &releases[1], Severity::Stop).await);
    assert_eq!(listed(storage).await, ["probe 1.0.0"], "it leaves the lists");
    let revoked = storage.release(releases[1].id).await.unwrap().unwrap();
    assert_eq!((revoked.status, revoked.reason.as_deref()), (Status::Revoked, Some("it leaks")));
    assert!(!revoke_from(storage, &releases[1], Status::Approved).await, "it does not stand there any more");
    decide(storage, &releases[0], Status::Yanked, Action::Yank).await;
    assert!(revoke(storage, &releases[0], Severity::Warn).await);
    let feed = storage.revocations().await.unwrap();
    let found: Vec<_> =
        feed.iter().map(|entry| (entry.sequence, entry.version.major, entry.severity)).collect();
    assert_eq!(found, [(1, 2, Severity::Stop), (2, 1, Severity::Warn)]);
    let entry = &feed[0];
    assert_eq!(
        (entry.addon.as_str(), entry.release_id, entry.digest),
        ("probe", releases[1].id, releases[1].digest)
    );
    assert_eq!((entry.reason.as_str(), entry.revoked_at), ("it leaks", at(3)));
    assert_eq!(entry.fixed_in.as_ref().map(ToString::to_string).as_deref(), Some("9.0.0"));
    assert_eq!(storage.index_state().await.unwrap().revocations, 2);
    let filter = AuditFilter { action: Some("release.revoke"), limit: 10, ..AuditFilter::default() };
    let rows = storage.audit(filter).await.unwrap();
    assert_eq!((rows.len(), rows[1].detail["severity"].as_str()), (2, Some("stop")));
    for sql in ["DELETE FROM revocations", "UPDATE revocations SET severity = 'warn'"] {
        let change = async || -> Result<(), StorageError> {
            write_tx!(storage.db(), |tx| sqlx::query(sql).execute(&mut *tx).await?.rows_affected());
            Ok(())
        };
        let error = change().await.unwrap_err();
        assert!(format!("{error:?}").contains("revocations only grow"), "{error:?}");
    }
}

async fn revoke_from(storage: &Storage, release: &Release, from: Status) -> bool {
    let by = by("rita");
    let revoking =
        Revoking { from, severity: Severity::Warn, reason: "r", fixed_in: None, by: &by, now: at(4) };
    storage.revoke(release, revoking).await.unwrap() == Revoked::Done
}

pub(super) async fn a_revocation_is_raised_and_never_lowered(storage: &Storage) {
    let release = approved(storage, "probe", "1.0.0").await;
    for (severity, raised) in [
        (Severity::Warn, true),
        (Severity::Warn, false),
        (Severity::Stop, true),
        (Severity::BlockInstall, false),
        (Severity::Warn, false),
        (Severity::Stop, false),
    ] {
        assert_eq!(revoke(storage, &release, severity).await, raised, "{severity}");
    }
    let feed = storage.revocations().await.unwrap();
    let found: Vec<_> = feed.iter().map(|entry| (entry.sequence, entry.release_id, entry.severity)).collect();
    assert_eq!(found, [(1, release.id, Severity::Warn), (2, release.id, Severity::Stop)]);
    let filter = AuditFilter { action: Some("release.revoke"), limit: 10, ..AuditFilter::default() };
    let rows = storage.audit(filter).await.unwrap();
    assert_eq!(rows.len(), 2, "what was refused is in no log");
    assert_eq!((&rows[0].detail["from"], &rows[0].detail["severity"]), (&"revoked".into(), &"stop".into()));

    // Of many who raise it at once, each gets a place of its own or none.
    let other = approved(storage, "other", "1.0.0").await;
    let asked =
        [Severity::Stop, Severity::Warn, Severity::BlockInstall].repeat(3).into_iter().map(|severity| {
            let (storage, other) = (storage.clone(), other.clone());
            tokio::spawn(async move { revoke(&storage, &other, severity).await })
        });
    for asked in asked.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
    // Whoever looked before somebody else changed it has to look again.
    revoke(storage, &other, Severity::Stop).await;
    let feed = storage.revocations().await.unwrap();
    let of_other: Vec<Severity> =
        feed.iter().filter(|entry| entry.release_id == other.id).map(|entry| entry.severity).collect();
    assert!(of_other.is_sorted() && of_other.last() == Some(&Severity::Stop), "{of_other:?}");
    let places: Vec<u64> = feed.iter().map(|entry| entry.sequence).collect();
    assert_eq!(places, (1..=feed.len() as u64).collect::<Vec<_>>());
}

pub(super) async fn revocations_at_once_have_places_without_gaps(storage: &Storage) {
    let mut releases = Vec::new();
    for n in 0..12 {
        releases.push(approved(storage, &format!("probe-{n}"), "1.0.0").await);
    }
    // Each twice: one of the two is too late, and takes no place.
    let asked = releases.iter().chain(&releases).map(|release| {
        let (storage, release) = (storage.clone(), release.clone());
        tokio::spawn(async move { revoke_from(&storage, &release, Status::Approved).await })
    });
    let mut done = 0;
    for asked in asked.collect::<Vec<_>>() {
        done += u32::from(asked.await.unwrap());
    }
    assert_eq!(done, 12);
    let places: Vec<u64> = storage.revocations().await.unwrap().iter().map(|entry| entry.sequence).collect();
    assert_eq!(places, (1..=12).collect::<Vec<_>>());
}
