//! Case by case, what somebody between a host and its marketplace could try, and what keys and clocks do to honest ones.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use addon_descriptor::{Digest, Version};
use proptest::prelude::*;

use super::{
    Difference, Envelope, Freshness, IndexRoot, Judgement, KeyEntry, KeySet, ListedRelease, ListedStatus,
    Missing, Payload, PublicKey, Revocation, Revocations, Severity, ShardId, ShardSummary, SigningKey,
    TrustError, TrustStore, sign,
};
use crate::{ReleaseId, Timestamp};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NOW: Timestamp = Timestamp::from_millis(1_795_255_200_000);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> PublicKey {
    PublicKey::of(&key(seed))
}

/// What is sent, signed by the keys of these seeds.
fn sealed<P: Payload>(document: &P, by: &[u8]) -> Vec<u8> {
    let keys: Vec<SigningKey> = by.iter().copied().map(key).collect();
    let keys: Vec<&SigningKey> = keys.iter().collect();
    serde_json::to_vec(&sign(document, &keys)).unwrap()
}

/// A key set with these living and these retired keys.
fn key_set(version: u64, living: &[u8], retired: &[u8]) -> KeySet {
    let living = living.iter().map(|seed| KeyEntry::new(public(*seed), NOW));
    let retired =
        retired.iter().map(|seed| KeyEntry { retired_at: Some(NOW), ..KeyEntry::new(public(*seed), NOW) });
    KeySet { version, created_at: NOW, keys: retired.chain(living).collect() }
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn image(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn listed(name: &str, at: &str, status: ListedStatus) -> ListedRelease {
    ListedRelease {
        digest: document(name, at),
        id: ReleaseId::new(1, [2; 8]),
        images: BTreeSet::from([image("a"), image("b")]),
        name: name.parse().unwrap(),
        status,
        version: version(at),
    }
}

/// The digest of a release's document.
fn document(name: &str, at: &str) -> Digest {
    Digest::of(format!("{name} {at}").as_bytes())
}

fn lines(releases: &[ListedRelease]) -> Vec<u8> {
    releases
        .iter()
        .flat_map(|release| [serde_json::to_vec(release).unwrap(), b"\n".to_vec()].concat())
        .collect()
}

fn shard_of(name: &str) -> ShardId {
    ShardId::of(&name.parse::<addon_descriptor::AddonName>().unwrap().folded())
}

/// A root over these releases of one addon.
fn root(number: u64, releases: &[ListedRelease]) -> IndexRoot {
    let bytes = lines(releases);
    let summary = |release: &ListedRelease| ShardSummary {
        shard: shard_of(release.name.as_str()),
        digest: Digest::of(&bytes),
        bytes: bytes.len() as u64,
        entries: releases.len() as u64,
    };
    IndexRoot {
        version: number,
        created_at: NOW,
        expires_at: NOW + 7 * DAY,
        keys: 1,
        revocations: 0,
        shards: releases.first().map(summary).into_iter().collect(),
        audit: None,
    }
}

fn feed(number: u64, severities: &[Severity]) -> Revocations {
    let entries = (1..).zip(severities).map(|(sequence, severity)| Revocation {
        sequence,
        addon: "probe".parse().unwrap(),
        version: Version::new(sequence, 0, 0),
        release_id: ReleaseId::new(1, [3; 8]),
        digest: document("probe", &format!("{sequence}.0.0")),
        severity: *severity,
        reason: "it leaks".to_owned(),
        fixed_in: Some(version("9.0.0")),
        revoked_at: NOW,
    });
    Revocations {
        version: number,
        created_at: NOW,
        expires_at: NOW + 7 * DAY,
        keys: 1,
        entries: entries.collect(),
    }
}

/// Knows key 1, the index 10 with `probe` 5.0.0, and the feed 10 with two revocations.
fn store() -> TrustStore {
    let mut store = TrustStore::new();
    assert_eq!(store.accept_keys(&sealed(&key_set(1, &[1], &[]), &[1])), Ok(true));
    take_index(&mut store, 10, &[listed("probe", "5.0.0", ListedStatus::Approved)]);
    let feed = sealed(&feed(10, &[Severity::Warn, Severity::Stop]), &[1]);
    assert_eq!(store.accept_revocations(&feed, NOW), Ok(Freshness::Current));
    store
}

fn take_index(store: &mut TrustStore, number: u64, releases: &[ListedRelease]) {
    let bytes = sealed(&root(number, releases), &[1]);
    assert_eq!(store.accept_index(&bytes, NOW), Ok(Freshness::Current));
    for summary in store.wanted_shards(["probe"]) {
        store.accept_shard(summary.shard, &lines(releases), ["probe"]).unwrap();
    }
}

fn judged<'a>(store: &'a TrustStore, at: &str, now: Timestamp) -> Judgement<'a> {
    store.check_release("Probe", &version(at), document("probe", at), &[image("b"), image("a")], now)
}

/// The store must be as before.
#[track_caller]
fn refused<T: std::fmt::Debug + PartialEq>(
    store: &mut TrustStore,
    expected: TrustError,
    offer: impl FnOnce(&mut TrustStore) -> Result<T, TrustError>,
) {
    let before = store.clone();
    assert_eq!(offer(store), Err(expected));
    assert_eq!(*store, before, "what is refused changes nothing");
}

#[test]
fn an_approved_release_is_what_was_reviewed() {
    let store = store();
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Approved);
    assert_eq!(
        judged(&store, "5.0.0+build", NOW),
        Judgement::Altered(Difference::Descriptor { reviewed: document("probe", "5.0.0") })
    );
    let at = version("5.0.0");
    let check = |digest, images: &[Digest]| store.check_release("probe", &at, digest, images, NOW);
    assert_eq!(check(document("probe", "5.0.0"), &[]), Judgement::Approved);
    let other = Difference::Descriptor { reviewed: document("probe", "5.0.0") };
    assert_eq!(check(document("probe", "x"), &[]), Judgement::Altered(other));
    for images in [&[image("a")][..], &[image("a"), image("b"), image("c")], &[image("a"), image("x")]] {
        assert_eq!(check(document("probe", "5.0.0"), images), Judgement::Altered(Difference::Images));
    }
    assert_eq!(judged(&store, "6.0.0", NOW), Judgement::Unlisted);
    assert_eq!(store.check_release("no name", &at, image("a"), &[], NOW), Judgement::Unlisted);
}

#[test]
fn what_is_not_known_is_said() {
    let mut store = TrustStore::new();
    let releases = [listed("probe", "5.0.0", ListedStatus::Approved)];
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Unknown(Missing::Keys));
    let index = sealed(&IndexRoot { revocations: 2, ..root(1, &releases) }, &[1]);
    refused(&mut store, TrustError::NoKeys, |store| store.accept_index(&index, NOW));
    refused(&mut store, TrustError::NoIndex, |store| store.accept_shard(shard_of("probe"), b"", []));
    store.accept_keys(&sealed(&key_set(1, &[1], &[]), &[1])).unwrap();
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Unknown(Missing::Index));
    store.accept_index(&index, NOW).unwrap();
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Unknown(Missing::Shard(shard_of("probe"))));
    assert_eq!(store.wanted_shards(["probe", "PROBE", "no name"]).len(), 1);
    store.accept_shard(shard_of("probe"), &lines(&releases), ["probe"]).unwrap();
    assert!(store.wanted_shards(["probe"]).is_empty());
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Unknown(Missing::Revocations));
    // A fresh index beside an old feed: somebody holds back revocations.
    store.accept_revocations(&sealed(&feed(1, &[Severity::Warn]), &[1]), NOW).unwrap();
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Unknown(Missing::Revocations));
    store.accept_revocations(&sealed(&feed(2, &[Severity::Warn; 2]), &[1]), NOW).unwrap();
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Approved);
}

#[test]
fn an_old_index_is_refused_also_after_a_restart() {
    let mut store = store();
    let old = sealed(&root(9, &[]), &[1]);
    let same = sealed(&root(10, &[listed("probe", "5.0.0", ListedStatus::Approved)]), &[1]);
    refused(&mut store, TrustError::Rollback { known: 10, offered: 9 }, |store| {
        store.accept_index(&old, NOW)
    });
    assert_eq!(store.accept_index(&same, NOW), Ok(Freshness::Current), "the same once more is no fault");
    refused(&mut store, TrustError::Conflict { version: 10 }, |store| {
        store.accept_index(&sealed(&root(10, &[]), &[1]), NOW)
    });
    let text = serde_json::to_string(&store).unwrap();
    let mut read: TrustStore = serde_json::from_str(&text).unwrap();
    assert_eq!(read, store);
    refused(&mut read, TrustError::Rollback { known: 10, offered: 9 }, |store| store.accept_index(&old, NOW));
}

#[test]
fn an_expired_index_takes_nothing_away_and_installs_nothing() {
    let mut store = store();
    let expired = NOW + 7 * DAY;
    for now in [expired, NOW + 3650 * DAY, Timestamp::MAX] {
        let judgement = judged(&store, "5.0.0", now);
        assert_eq!(judgement, Judgement::Expired { since: expired });
        assert!(!judgement.allows_install() && judgement.allows_start() && !judgement.asks_to_stop());
        assert_eq!(
            judged(&store, "6.0.0", now),
            Judgement::Expired { since: expired },
            "it may be approved by now"
        );
        assert!(judged(&store, "2.0.0", now).asks_to_stop(), "a revocation is for good");
    }
    assert_eq!(judged(&store, "5.0.0", NOW - DAY), Judgement::Approved, "a clock that was put back");
    // Newer, and expired all the same when it arrives: it is taken and said to be so.
    let late = sealed(&root(11, &[]), &[1]);
    assert_eq!(store.accept_index(&late, expired), Ok(Freshness::Expired { since: expired }));
    let late = sealed(&feed(11, &[Severity::Warn, Severity::Stop]), &[1]);
    assert_eq!(store.accept_revocations(&late, expired), Ok(Freshness::Expired { since: expired }));
}

#[test]
fn one_expired_document_of_two_is_enough() {
    let mut store = store();
    let fresh = IndexRoot {
        expires_at: NOW + 30 * DAY,
        ..root(11, &[listed("probe", "5.0.0", ListedStatus::Approved)])
    };
    store.accept_index(&sealed(&fresh, &[1]), NOW).unwrap();
    assert_eq!(judged(&store, "5.0.0", NOW + 8 * DAY), Judgement::Expired { since: NOW + 7 * DAY });
}

#[test]
fn parts_of_another_version_are_refused() {
    let mut store = store();
    let old = lines(&[listed("probe", "5.0.0", ListedStatus::Approved)]);
    let new = [listed("probe", "5.0.0", ListedStatus::Yanked)];
    store.accept_index(&sealed(&root(11, &new), &[1]), NOW).unwrap();
    // What the old part said counts no more, and the new part is not here yet.
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Unknown(Missing::Shard(shard_of("probe"))));
    let shard = shard_of("probe");
    refused(&mut store, TrustError::OtherShard { shard, version: 11 }, |store| {
        store.accept_shard(shard, &old, ["probe"])
    });
    let elsewhere = ShardId::from(shard.number().wrapping_add(1));
    refused(&mut store, TrustError::OtherShard { shard: elsewhere, version: 11 }, |store| {
        store.accept_shard(elsewhere, &lines(&new), ["probe"])
    });
    store.accept_shard(shard, &lines(&new), ["probe"]).unwrap();
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Yanked);
    assert!(!Judgement::Yanked.allows_install() && Judgement::Yanked.allows_start());
}

#[test]
fn a_part_that_did_not_change_need_not_be_fetched_again() {
    let mut store = store();
    let releases = [listed("probe", "5.0.0", ListedStatus::Approved)];
    store.accept_index(&sealed(&root(11, &releases), &[1]), NOW).unwrap();
    assert!(store.wanted_shards(["probe"]).is_empty());
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Approved);
    store.keep_only([]);
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Unknown(Missing::Shard(shard_of("probe"))));
    // An addon whose part is gone has no release any more, and there is nothing to fetch for it.
    store.accept_index(&sealed(&root(12, &[]), &[1]), NOW).unwrap();
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Unlisted);
    assert!(store.wanted_shards(["probe"]).is_empty());
}

#[test]
fn a_dropped_or_changed_revocation_is_refused() {
    let mut store = store();
    let known = feed(10, &[Severity::Warn, Severity::Stop]);
    let offer = |change: &dyn Fn(&mut Revocations)| {
        let mut feed = Revocations { version: 11, ..known.clone() };
        change(&mut feed);
        sealed(&feed, &[1])
    };
    type Change = fn(&mut Revocations);
    for (change, sequence) in [
        ((|feed| _ = feed.entries.pop()) as Change, 2),
        (|feed| _ = feed.entries.remove(0), 1),
        (|feed| feed.entries.clear(), 1),
        (|feed| feed.entries[0].severity = Severity::BlockInstall, 1),
        (|feed| feed.entries[1].reason.push('!'), 2),
        (|feed| feed.entries.swap(0, 1), 1),
        (|feed| feed.entries[1].sequence = 3, 2),
    ] {
        let bytes = offer(&change);
        refused(&mut store, TrustError::FeedBroken { sequence }, |store| {
            store.accept_revocations(&bytes, NOW)
        });
    }
    let old = sealed(&Revocations { version: 9, ..known.clone() }, &[1]);
    refused(&mut store, TrustError::Rollback { known: 10, offered: 9 }, |store| {
        store.accept_revocations(&old, NOW)
    });
    let longer = sealed(&feed(10, &[Severity::Warn, Severity::Stop, Severity::Warn]), &[1]);
    refused(&mut store, TrustError::Conflict { version: 10 }, |store| store.accept_revocations(&longer, NOW));
    let longer = sealed(&feed(11, &[Severity::Warn, Severity::Stop, Severity::Warn]), &[1]);
    assert_eq!(store.accept_revocations(&longer, NOW), Ok(Freshness::Current));
    assert_eq!(judged(&store, "3.0.0", NOW).severity(), Some(Severity::Warn));
}

#[test]
fn a_revocation_is_found_by_version_and_by_digest_and_the_severest_counts() {
    let mut store = store();
    for (at, severity, start, stop) in
        [("1.0.0", Severity::Warn, true, false), ("2.0.0", Severity::Stop, false, true)]
    {
        let judgement = judged(&store, at, NOW);
        assert_eq!(judgement.severity(), Some(severity));
        assert!(!judgement.allows_install());
        assert_eq!((judgement.allows_start(), judgement.asks_to_stop()), (start, stop), "{judgement}");
        assert!(judgement.to_string().contains("it leaks") && judgement.to_string().contains("9.0.0"));
    }
    let other = image("another document under that version");
    assert!(store.check_release("PROBE", &version("2.0.0"), other, &[], NOW).asks_to_stop());
    let digest = document("probe", "2.0.0");
    assert!(store.check_release("renamed", &version("7.0.0"), digest, &[], NOW).asks_to_stop());
    let mut feed = feed(11, &[Severity::Warn, Severity::Stop, Severity::BlockInstall]);
    feed.entries[2].version = version("1.0.0");
    store.accept_revocations(&sealed(&feed, &[1]), NOW).unwrap();
    assert_eq!(judged(&store, "1.0.0", NOW).severity(), Some(Severity::BlockInstall));
    assert!(!judged(&store, "1.0.0", NOW).allows_start());
    // The index can be ahead of the feed.
    take_index(&mut store, 11, &[listed("probe", "5.0.0", ListedStatus::Revoked)]);
    assert_eq!(judged(&store, "5.0.0", NOW), Judgement::Revoked(None));
    assert!(!judged(&store, "5.0.0", NOW).allows_start() && !judged(&store, "5.0.0", NOW).asks_to_stop());
}

#[test]
fn a_document_is_never_taken_for_another() {
    let mut store = store();
    let (index, feed, keys) = (
        sealed(&root(11, &[]), &[1]),
        sealed(&feed(11, &[Severity::Stop]), &[1]),
        sealed(&key_set(2, &[1], &[]), &[1]),
    );
    let wrong = |expected, found: &str| TrustError::WrongType { expected, found: found.to_owned() };
    refused(&mut store, wrong(IndexRoot::TYPE, Revocations::TYPE), |store| store.accept_index(&feed, NOW));
    refused(&mut store, wrong(Revocations::TYPE, IndexRoot::TYPE), |store| {
        store.accept_revocations(&index, NOW)
    });
    refused(&mut store, wrong(KeySet::TYPE, IndexRoot::TYPE), |store| store.accept_keys(&index));
    refused(&mut store, wrong(IndexRoot::TYPE, KeySet::TYPE), |store| store.accept_index(&keys, NOW));
    // Calling it by another type does not help: the type is signed.
    let mut envelope: Envelope = serde_json::from_slice(&index).unwrap();
    envelope.payload_type = Revocations::TYPE.to_owned();
    assert!(store.accept_revocations(&serde_json::to_vec(&envelope).unwrap(), NOW).is_err());
    let mut envelope: Envelope = serde_json::from_slice(&index).unwrap();
    envelope.signatures.clear();
    let bytes = serde_json::to_vec(&envelope).unwrap();
    assert!(matches!(store.accept_index(&bytes, NOW), Err(TrustError::Malformed { .. })));
}

#[test]
fn signed_is_what_dsse_says() {
    let envelope = sign(&key_set(1, &[1], &[]), &[&key(1)]);
    let payload = serde_json::to_vec(&key_set(1, &[1], &[])).unwrap();
    let mut signed = b"DSSEv1 46 application/vnd.addon-marketplace.keys.v1+json ".to_vec();
    signed.extend(format!("{} ", payload.len()).bytes());
    signed.extend(&payload);
    use base64::Engine as _;
    use ed25519_dalek::Signer as _;
    let expected = base64::engine::general_purpose::STANDARD.encode(key(1).sign(&signed).to_bytes());
    assert_eq!(envelope.signatures[0].sig, expected);
    assert_eq!(
        envelope.signatures[0].keyid.to_string(),
        Digest::of(&key(1).verifying_key().to_bytes()).hex()
    );
}

#[test]
fn unknown_keys_are_refused() {
    let mut store = store();
    let stranger = public(9).id();
    for by in [&[9][..], &[1, 9], &[9, 1]] {
        let index = sealed(&root(11, &[]), by);
        refused(&mut store, TrustError::UnknownKey { keyid: stranger }, |store| {
            store.accept_index(&index, NOW)
        });
        let feed = sealed(&feed(11, &[Severity::Warn, Severity::Stop]), by);
        refused(&mut store, TrustError::UnknownKey { keyid: stranger }, |store| {
            store.accept_revocations(&feed, NOW)
        });
    }
    // A signature of somebody else under the known key's id.
    let mut envelope = sign(&root(11, &[]), &[&key(9)]);
    envelope.signatures[0].keyid = public(1).id();
    let bytes = serde_json::to_vec(&envelope).unwrap();
    refused(&mut store, TrustError::BadSignature { keyid: public(1).id() }, |store| {
        store.accept_index(&bytes, NOW)
    });
}

#[test]
fn keys_change_along_the_chain_only() {
    let mut store = store();
    // Both keys live, then the first is retired, then a third comes and the second goes.
    let chain = [
        sealed(&key_set(2, &[1, 2], &[]), &[1, 2]),
        sealed(&key_set(3, &[2], &[1]), &[2]),
        sealed(&key_set(4, &[2, 3], &[1]), &[2, 3]),
        sealed(&key_set(5, &[3], &[1, 2]), &[3]),
    ];
    refused(&mut store, TrustError::KeysMissing { next: 2, offered: 4 }, |store| {
        store.accept_keys(&chain[2])
    });
    // A thief without the key: a chain of his own, with the old key in the set but without its signature.
    let forged = sealed(&key_set(2, &[1, 9], &[]), &[9]);
    refused(&mut store, TrustError::ChainBroken { offered: 2 }, |store| store.accept_keys(&forged));
    let forged = sealed(&key_set(2, &[9], &[]), &[9]);
    refused(&mut store, TrustError::ChainBroken { offered: 2 }, |store| store.accept_keys(&forged));
    // The old key puts in one that nobody showed to have.
    let unproven = sealed(&key_set(2, &[2], &[1]), &[1]);
    refused(&mut store, TrustError::ChainBroken { offered: 2 }, |store| store.accept_keys(&unproven));
    for (set, bytes) in (2..).zip(&chain) {
        assert_eq!(store.accept_keys(bytes), Ok(true));
        assert_eq!(store.keys().unwrap().version, set);
        assert_eq!(store.accept_keys(bytes), Ok(false), "the same once more");
    }
    refused(&mut store, TrustError::Rollback { known: 5, offered: 2 }, |store| store.accept_keys(&chain[0]));
    let other = sealed(&KeySet { created_at: NOW + DAY, ..key_set(5, &[3], &[1, 2]) }, &[3]);
    refused(&mut store, TrustError::Conflict { version: 5 }, |store| store.accept_keys(&other));
    for (seed, fault) in [
        (1, TrustError::RetiredKey { keyid: public(1).id() }),
        (2, TrustError::RetiredKey { keyid: public(2).id() }),
        (4, TrustError::UnknownKey { keyid: public(4).id() }),
    ] {
        let index = sealed(&root(11, &[]), &[seed]);
        refused(&mut store, fault, |store| store.accept_index(&index, NOW));
    }
    assert_eq!(store.accept_index(&sealed(&root(11, &[]), &[3]), NOW), Ok(Freshness::Current));
    // A retired key makes no key set either.
    let back = sealed(&key_set(6, &[1, 3], &[2]), &[2]);
    refused(&mut store, TrustError::RetiredKey { keyid: public(2).id() }, |store| store.accept_keys(&back));
}

#[test]
fn newer_keys_are_asked_for_when_a_document_speaks_of_them() {
    let mut store = store();
    assert_eq!(store.next_keys(), None);
    store.accept_index(&sealed(&IndexRoot { keys: 3, ..root(11, &[]) }, &[1]), NOW).unwrap();
    assert_eq!(store.next_keys(), Some(2));
    store.accept_keys(&sealed(&key_set(2, &[1, 2], &[]), &[1, 2])).unwrap();
    assert_eq!(store.next_keys(), Some(3));
    store.accept_keys(&sealed(&key_set(3, &[2], &[1]), &[2])).unwrap();
    assert_eq!(store.next_keys(), None);
}

#[test]
fn what_a_stolen_key_signed_can_be_mended() {
    let mut store = store();
    // The thief signs the highest version there is, and a revocation of everything's favourite.
    let stolen = sealed(&root(u64::MAX, &[]), &[1]);
    store.accept_index(&stolen, NOW).unwrap();
    let forged = sealed(&feed(u64::MAX, &[Severity::Warn, Severity::Stop, Severity::Stop]), &[1]);
    store.accept_revocations(&forged, NOW).unwrap();
    store.accept_keys(&sealed(&key_set(2, &[1, 2], &[]), &[1, 2])).unwrap();
    let honest = sealed(&root(12, &[]), &[2]);
    let known = u64::MAX;
    refused(&mut store, TrustError::Rollback { known, offered: 12 }, |store| {
        store.accept_index(&honest, NOW)
    });
    store.accept_keys(&sealed(&key_set(3, &[2], &[1]), &[2])).unwrap();
    // Retired: nothing is forgotten yet, and what a living key signs takes its place.
    assert!(judged(&store, "3.0.0", NOW).asks_to_stop());
    refused(&mut store, TrustError::RetiredKey { keyid: public(1).id() }, |store| {
        store.accept_index(&stolen, NOW)
    });
    assert_eq!(store.accept_index(&honest, NOW), Ok(Freshness::Current));
    let honest = sealed(&feed(12, &[Severity::Warn, Severity::Stop]), &[2]);
    assert_eq!(store.accept_revocations(&honest, NOW), Ok(Freshness::Current));
    assert!(!judged(&store, "3.0.0", NOW).asks_to_stop() && judged(&store, "2.0.0", NOW).asks_to_stop());
}

#[test]
fn the_first_keys_are_believed_or_pinned() {
    let set = key_set(1, &[1, 2], &[3]);
    let mut first = TrustStore::new();
    // Whoever is in the set has to be behind it.
    refused(&mut first, TrustError::UnknownKey { keyid: public(9).id() }, |store| {
        store.accept_keys(&sealed(&set, &[9]))
    });
    refused(&mut first, TrustError::RetiredKey { keyid: public(3).id() }, |store| {
        store.accept_keys(&sealed(&set, &[3]))
    });
    assert_eq!(
        first.accept_keys(&sealed(&key_set(7, &[1], &[]), &[1])),
        Ok(true),
        "any version is the first"
    );

    let pin = public(2).to_string();
    let mut pinned = TrustStore::pinned([pin.as_str()]).unwrap();
    refused(&mut pinned, TrustError::NotPinned, |store| store.accept_keys(&sealed(&set, &[1])));
    let others = sealed(&key_set(1, &[1], &[]), &[1]);
    refused(&mut pinned, TrustError::NotPinned, |store| store.accept_keys(&others));
    assert_eq!(pinned.accept_keys(&sealed(&set, &[2])), Ok(true));
    // From then on the chain counts: the pinned key may go.
    assert_eq!(pinned.accept_keys(&sealed(&key_set(2, &[1], &[2, 3]), &[1])), Ok(true));
    for text in ["", "x", "AAAA", &format!(" {pin}"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
        assert!(TrustStore::pinned([text]).is_err(), "{text:?}");
    }
}

#[test]
fn key_sets_that_make_no_sense_are_refused() {
    let good = key_set(2, &[1], &[2]);
    type Change = fn(&mut KeySet);
    for (change, words) in [
        ((|set| set.version = 0) as Change, "begin with 1"),
        (|set| set.keys[1].retired_at = Some(NOW), "retired"),
        (|set| set.keys.push(set.keys[0].clone()), "twice"),
        (|set| set.keys[0].keyid = public(5).id(), "the id of another"),
        (|set| set.keys = vec![set.keys[0].clone(); 257], "256"),
    ] {
        let mut set = good.clone();
        change(&mut set);
        let error = TrustStore::new().accept_keys(&sealed(&set, &[1])).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn roots_and_feeds_that_make_no_sense_are_refused() {
    let mut store = store();
    let summary = |shard: u8| ShardSummary { shard: shard.into(), digest: image("a"), bytes: 1, entries: 1 };
    for (root, words) in [
        (IndexRoot { version: 0, ..root(11, &[]) }, "begin with 1"),
        (IndexRoot { expires_at: NOW, ..root(11, &[]) }, "expires before"),
        (IndexRoot { shards: vec![summary(2), summary(1)], ..root(11, &[]) }, "in order"),
        (IndexRoot { shards: vec![summary(1), summary(1)], ..root(11, &[]) }, "in order"),
    ] {
        let error = store.accept_index(&sealed(&root, &[1]), NOW).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    for feed in [Revocations { version: 0, ..feed(1, &[]) }, Revocations { expires_at: NOW, ..feed(1, &[]) }]
    {
        assert!(store.accept_revocations(&sealed(&feed, &[1]), NOW).is_err());
    }
    let bytes = b"no release\n";
    let mut bad = root(11, &[]);
    bad.shards = vec![ShardSummary {
        shard: shard_of("probe"),
        digest: Digest::of(bytes),
        bytes: bytes.len() as u64,
        entries: 1,
    }];
    store.accept_index(&sealed(&bad, &[1]), NOW).unwrap();
    let error = store.accept_shard(shard_of("probe"), bytes, ["probe"]).unwrap_err();
    assert!(matches!(error, TrustError::Malformed { .. }), "{error}");
}

#[test]
fn a_line_of_a_shard_is_canonical() {
    let line = serde_json::to_string(&listed("probe", "1.0.0-rc.1", ListedStatus::Approved)).unwrap();
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    // The keys of a map of serde_json are sorted.
    assert_eq!(serde_json::to_string(&value).unwrap(), line);
}

#[test]
fn shards_are_two_digits() {
    for shard in ShardId::all() {
        assert_eq!(shard.to_string().parse(), Ok(shard));
    }
    assert_eq!(ShardId::all().count(), 256);
    for text in ["", "0", "000", "0A", "+1", "g0", "é"] {
        assert!(text.parse::<ShardId>().is_err(), "{text}");
    }
    for severity in Severity::ALL {
        assert_eq!(serde_json::to_value(severity).unwrap(), severity.as_str());
        assert_eq!(Severity::from_wire(severity.as_str()), Some(severity));
    }
}

/// A store, and one document of each kind that it would take.
struct Fixture {
    store: TrustStore,
    keys: Vec<u8>,
    index: Vec<u8>,
    feed: Vec<u8>,
    shard: Vec<u8>,
}

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let releases = [listed("probe", "6.0.0", ListedStatus::Approved)];
        Fixture {
            store: store(),
            keys: sealed(&key_set(2, &[1, 2], &[]), &[1, 2]),
            index: sealed(&root(11, &releases), &[1]),
            feed: sealed(&feed(11, &[Severity::Warn, Severity::Stop, Severity::Warn]), &[1]),
            shard: lines(&releases),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_flipped_bit_anywhere_is_refused(place in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let Fixture { store: before, keys, index, feed, shard } = fixture();
        let flipped = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            bytes
        };
        let mut store = before.clone();
        prop_assert!(store.accept_keys(&flipped(keys)).is_err());
        prop_assert!(store.accept_index(&flipped(index), NOW).is_err());
        prop_assert!(store.accept_revocations(&flipped(feed), NOW).is_err());
        prop_assert_eq!(&store, before);
        store.accept_index(index, NOW).unwrap();
        let accepted = store.clone();
        prop_assert!(store.accept_shard(shard_of("probe"), &flipped(shard), ["probe"]).is_err());
        prop_assert_eq!(store, accepted);
    }

    #[test]
    fn a_part_of_a_document_is_refused(place in any::<prop::sample::Index>()) {
        let Fixture { store: before, keys, index, feed, shard } = fixture();
        let cut = |bytes: &[u8]| bytes[..place.index(bytes.len())].to_vec();
        let mut store = before.clone();
        prop_assert!(store.accept_keys(&cut(keys)).is_err());
        prop_assert!(store.accept_index(&cut(index), NOW).is_err());
        prop_assert!(store.accept_revocations(&cut(feed), NOW).is_err());
        store.accept_index(index, NOW).unwrap();
        prop_assert!(store.accept_shard(shard_of("probe"), &cut(shard), ["probe"]).is_err());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut store = fixture().store.clone();
        prop_assert!(store.accept_keys(&bytes).is_err());
        prop_assert!(store.accept_index(&bytes, NOW).is_err());
        prop_assert!(store.accept_revocations(&bytes, NOW).is_err());
        prop_assert!(store.accept_shard(shard_of("probe"), &bytes, ["probe"]).is_err());
    }

    #[test]
    fn no_signed_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..200), version in any::<u64>(),
        keys in any::<u64>(), revocations in any::<u64>(), millis in any::<i64>(), name in ".{0,12}") {
        let mut store = fixture().store.clone();
        // Signed rightly, whatever it is.
        struct Raw(Vec<u8>);
        impl serde::Serialize for Raw {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(&self.0)
            }
        }
        impl<'de> serde::Deserialize<'de> for Raw {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Vec::deserialize(deserializer).map(Self)
            }
        }
        impl Payload for Raw { const TYPE: &'static str = IndexRoot::TYPE; }
        prop_assert!(store.accept_index(&sealed(&Raw(payload), &[1]), NOW).is_err());
        let now = Timestamp::from_millis(millis);
        let odd = IndexRoot { version, keys, revocations, ..root(1, &[]) };
        _ = store.accept_index(&sealed(&odd, &[1]), now);
        let odd = Revocations { version, keys, ..feed(1, &[Severity::Warn, Severity::Stop]) };
        _ = store.accept_revocations(&sealed(&odd, &[1]), now);
        let odd = KeySet { version, ..key_set(1, &[1, 2], &[]) };
        _ = store.accept_keys(&sealed(&odd, &[1, 2]));
        _ = store.next_keys();
        _ = store.wanted_shards([name.as_str()]);
        _ = store.check_release(&name, &Version::new(version, keys, revocations), image("a"), &[], now);
    }
}
