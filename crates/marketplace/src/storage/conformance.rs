//! What storage does, on every database: one suite, run by one line for each of them. Parts that have a file of their own
//! are in the folder beside this.

mod feeds;
mod identity;
mod leases;
mod publish;
mod registries;
mod replicas;
mod search;
mod server;
mod trust;

use std::collections::BTreeSet;
use std::time::Duration;

use addon_client::{ReleaseId, Timestamp, Verdict};
use addon_descriptor::AddonDescriptor;
use service_kit::db::Db;

use super::audit::Actor;
use super::{Decision, Filter, InsertError, Job, NewRelease, Published, Purpose, Source, Storage, Verdicted};
use crate::domain::name;
use crate::domain::release::{Release, Status};
use crate::domain::transition::Action;

use self::feeds::{
    a_marketplace_stays_the_one_it_is, a_report_is_counted_once_and_ranks,
    an_addon_is_listed_withdrawn_or_neither, an_image_that_goes_and_comes_back_is_told,
    counts_are_of_everything, feeds_have_what_was_approved_last, only_the_newest_events_are_kept,
    reports_at_once_are_all_counted, what_everybody_may_see_is_told_in_its_order,
};
use self::identity::{
    a_name_too_many_leaves_nothing, buckets_fill_again_one_by_one,
    checking_the_log_names_what_was_altered_and_what_is_gone, every_decision_writes_its_row,
    every_status_allows_the_moves_of_the_table_and_no_other, of_many_who_publish_a_name_first_one_owns_it,
    of_two_last_owners_who_go_at_once_one_stays, owners_are_invited_accept_and_go,
    rows_are_chained_in_order_beside_writers, rows_of_the_log_are_found_and_come_in_parts,
    the_first_publisher_owns_a_name, the_log_refuses_to_be_changed,
};
use self::leases::{
    a_lease_goes_to_one_of_many_who_ask_at_once, a_lease_is_one_holders_until_its_end,
    a_lease_that_is_given_back_is_free,
};
use self::publish::{
    a_publishers_documents_of_one_commit_have_turns, each_of_a_batch_has_its_own_answer,
    names_that_many_publish_at_once_are_one_accounts_each,
};
use self::registries::{
    approved_releases_are_looked_at_once_an_interval, parts_are_remembered_by_repository_and_digest,
    so_many_rechecks_wait_and_no_more, the_longest_pause_of_a_registry_counts,
    the_oldest_parts_are_forgotten_first, what_is_not_approved_is_not_looked_at,
    what_the_schedule_asks_for_comes_last,
};
use self::search::{
    a_cursor_holds_while_listings_come_and_go, every_word_has_to_be_there_and_the_last_may_be_a_beginning,
    facets_are_counted_for_the_same_filters, filters_are_exact_and_go_together,
    names_are_found_before_descriptions, only_what_is_listed_is_found, orders_are_what_they_say,
    parts_are_what_the_whole_is, platforms_are_those_of_every_image,
    texts_that_mean_something_to_a_database_are_texts, versions_of_what_is_found,
};
use self::server::on_postgres;
use self::trust::{
    a_part_that_changes_while_it_is_built_is_built_again, a_revocation_is_for_good_and_in_the_feed,
    a_revocation_is_raised_and_never_lowered, key_sets_are_counted, long_parts_are_read_in_pieces,
    one_signed_document_follows_the_other, revocations_at_once_have_places_without_gaps,
    the_index_follows_every_change_of_a_release, what_a_part_was_is_served_for_a_moment,
};

/// Runs every test on a database of its own, made by `$open`: an async function that gives a [`Storage`] and what must
/// be kept while it is used.
macro_rules! suite {
    ($name:ident, $open:ident) => {
        mod $name {
            suite!(@tests $open:
                publishing_again_is_the_same_release,
                a_version_has_one_document,
                versions_are_chosen_from_the_highest_ever_given,
                build_metadata_makes_no_other_version,
                one_name_has_one_spelling,
                a_deleted_version_keeps_its_document,
                a_failed_release_posted_again_is_under_review,
                equal_documents_at_once_make_one_release,
                documents_without_version_at_once_get_one_each,
                lists_have_the_newest_approved_in_order,
                lists_of_a_status_can_be_ones_own,
                a_cursor_goes_on_where_it_ended,
                approving_takes_green_checks_and_the_digest,
                a_decision_hits_only_where_it_must,
                a_job_is_one_workers_at_a_time,
                publishers_take_turns,
                a_job_without_answer_goes_with_the_queue,
                one_publishers_jobs_can_be_passed_over,
                a_lost_lease_records_nothing,
                a_verdict_counts_only_under_review,
                a_job_without_answer_comes_back_when_due,
                a_recheck_leaves_the_status,
                releases_are_found_together,
                look_alikes_are_what_strangers_had_approved_before,
                of_look_alikes_at_once_one_is_approved,
                rights_are_those_of_the_last_approved,
                versions_of_an_addon_come_in_parts,
                writes_end_the_epochs_of_what_they_change,
                a_lease_is_one_holders_until_its_end,
                a_lease_that_is_given_back_is_free,
                a_lease_goes_to_one_of_many_who_ask_at_once,
                parts_are_remembered_by_repository_and_digest,
                the_oldest_parts_are_forgotten_first,
                the_longest_pause_of_a_registry_counts,
                approved_releases_are_looked_at_once_an_interval,
                what_is_not_approved_is_not_looked_at,
                so_many_rechecks_wait_and_no_more,
                what_the_schedule_asks_for_comes_last,
                every_decision_writes_its_row,
                rows_of_the_log_are_found_and_come_in_parts,
                the_log_refuses_to_be_changed,
                checking_the_log_names_what_was_altered_and_what_is_gone,
                rows_are_chained_in_order_beside_writers,
                the_first_publisher_owns_a_name,
                of_many_who_publish_a_name_first_one_owns_it,
                owners_are_invited_accept_and_go,
                of_two_last_owners_who_go_at_once_one_stays,
                buckets_fill_again_one_by_one,
                a_name_too_many_leaves_nothing,
                every_status_allows_the_moves_of_the_table_and_no_other,
                the_index_follows_every_change_of_a_release,
                a_part_that_changes_while_it_is_built_is_built_again,
                long_parts_are_read_in_pieces,
                one_signed_document_follows_the_other,
                what_a_part_was_is_served_for_a_moment,
                key_sets_are_counted,
                a_revocation_is_for_good_and_in_the_feed,
                revocations_at_once_have_places_without_gaps,
                a_revocation_is_raised_and_never_lowered,
                what_was_yanked_by_others_meanwhile_is_not_decided,
                every_word_has_to_be_there_and_the_last_may_be_a_beginning,
                names_are_found_before_descriptions,
                only_what_is_listed_is_found,
                filters_are_exact_and_go_together,
                platforms_are_those_of_every_image,
                orders_are_what_they_say,
                parts_are_what_the_whole_is,
                each_of_a_batch_has_its_own_answer,
                names_that_many_publish_at_once_are_one_accounts_each,
                a_publishers_documents_of_one_commit_have_turns,
                a_cursor_holds_while_listings_come_and_go,
                versions_of_what_is_found,
                facets_are_counted_for_the_same_filters,
                texts_that_mean_something_to_a_database_are_texts,
                what_everybody_may_see_is_told_in_its_order,
                an_image_that_goes_and_comes_back_is_told,
                only_the_newest_events_are_kept,
                a_marketplace_stays_the_one_it_is,
                feeds_have_what_was_approved_last,
                an_addon_is_listed_withdrawn_or_neither,
                a_report_is_counted_once_and_ranks,
                reports_at_once_are_all_counted,
                counts_are_of_everything,
            );
        }
    };
    (@tests $open:ident: $($test:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let (storage, _kept) = super::$open().await;
                super::$test(&storage).await;
                storage.db().close().await;
            }
        )*
    };
}

suite!(sqlite, on_sqlite);
suite!(postgres, on_postgres);

async fn on_sqlite() -> (Storage, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open_sqlite(&folder.path().join("marketplace.db")).await.unwrap();
    (storage, folder)
}

const LEASE: Duration = Duration::from_secs(60);

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000_000_000 + second * 1000)
}

/// Somebody who is no administrator.
fn by(account: &str) -> Actor {
    Actor::named(account)
}

fn descriptor(name: &str, description: &str, version: Option<&str>) -> AddonDescriptor {
    let mut document = serde_json::json!({
        "name": name, "description": description,
        "services": [{"service_name": "a", "image": "registry.example/a:1"}],
    });
    if let Some(version) = version {
        document["version"] = version.into();
    }
    let reading = addon_descriptor::read(&serde_json::to_vec(&document).unwrap()).unwrap();
    reading.descriptor.unwrap_or_else(|| panic!("{:?}", reading.violations))
}

struct Post<'a> {
    name: &'a str,
    description: &'a str,
    version: Option<&'a str>,
    publisher: &'a str,
    second: i64,
}

impl Post<'_> {
    async fn send(&self, storage: &Storage) -> Result<Published, InsertError> {
        let descriptor = descriptor(self.name, self.description, self.version);
        let skeleton = name::skeleton(&descriptor.name.folded());
        let id = ReleaseId::new(at(self.second).seconds(), service_kit::random::bytes());
        let new = NewRelease::new(id, descriptor, skeleton, Vec::new(), by(self.publisher), at(self.second));
        storage.publish(new).await
    }
}

fn post<'a>(name: &'a str, description: &'a str, version: Option<&'a str>) -> Post<'a> {
    Post { name, description, version, publisher: "paul", second: 0 }
}

async fn publish(storage: &Storage, name: &str, description: &str, version: Option<&str>) -> Release {
    match post(name, description, version).send(storage).await.unwrap() {
        Published::New(release) => release,
        other => panic!("no new release: {other:?}"),
    }
}

/// Takes the next job and records a verdict for it.
async fn verify(storage: &Storage, status: Status, second: i64) -> Release {
    let job = storage.claim("worker", at(second), LEASE, None).await.unwrap().expect("a job is due");
    assert!(storage.record_verdict(&job, &verdicted(status), at(second)).await.unwrap());
    storage.release(job.release.id).await.unwrap().unwrap()
}

fn verdicted(status: Status) -> Verdicted {
    let verdict = if status == Status::VerificationFailed { Verdict::Fail } else { Verdict::Pass };
    Verdicted { status, verdict, checks: Vec::new(), pins: Vec::new(), held: Vec::new(), reason: None }
}

async fn listed(storage: &Storage) -> Vec<String> {
    let filter = Filter { addon: None, status: None, publisher: None, after: 0, limit: 100 };
    let part = storage.list(filter).await.unwrap();
    part.releases.iter().map(|release| format!("{} {}", release.addon, release.version)).collect()
}

/// Somebody unyanks, and an administrator yanks, while an owner who read the first yank takes that back.
async fn what_was_yanked_by_others_meanwhile_is_not_decided(storage: &Storage) {
    publish(storage, "probe", "x", None).await;
    let approved = verify(storage, Status::Approved, 1).await;
    let (paul, ada) = (by("paul"), by("ada"));
    let decide = async |release: &Release, action: Action, by: &Actor, over_owners: bool| {
        let (from, to) = match action {
            Action::Yank => (Status::Approved, Status::Yanked),
            _ => (Status::Yanked, Status::Approved),
        };
        let decision = Decision { from, to, action, reason: None, by, over_owners, now: at(2) };
        storage.decide(release, decision).await.unwrap()
    };
    let now = async || storage.release(approved.id).await.unwrap().unwrap();
    assert!(decide(&approved, Action::Yank, &paul, false).await);
    let read = now().await;
    assert!(decide(&read, Action::Unyank, &paul, false).await);
    assert!(decide(&approved, Action::Yank, &ada, true).await);
    assert!(!decide(&read, Action::Unyank, &paul, false).await);
    assert!(!storage.delete(&read, &paul, None, at(3)).await.unwrap());
    let yanked = now().await;
    assert_eq!((yanked.status, yanked.yanked_by_admin), (Status::Yanked, true));
    assert!(decide(&yanked, Action::Unyank, &ada, false).await);
    let back = now().await;
    assert_eq!((back.status, back.yanked_by_admin), (Status::Approved, false));
}

async fn publishing_again_is_the_same_release(storage: &Storage) {
    let first = publish(storage, "probe", "x", None).await;
    assert_eq!(first.version.to_string(), "0.1.0");
    assert_eq!((first.status, first.verdict), (Status::UnderReview, Verdict::Pending));
    for version in [None, Some("0.1.0")] {
        let again = post("probe", "x", version).send(storage).await.unwrap();
        assert!(matches!(&again, Published::Existing(release) if *release == first), "{again:?}");
    }
    assert_eq!(storage.release(first.id).await.unwrap().unwrap(), first);
    let canonical = storage.canonical(first.id).await.unwrap().unwrap();
    assert_eq!(addon_descriptor::Digest::of(canonical.as_bytes()), first.digest);
    assert_eq!(storage.queue_depth().await.unwrap(), 1);
}

async fn a_version_has_one_document(storage: &Storage) {
    let first = publish(storage, "probe", "x", Some("1.0.0")).await;
    let other = post("probe", "y", Some("1.0.0")).send(storage).await.unwrap_err();
    assert!(
        matches!(other, InsertError::VersionTaken { digest, deleted: false } if digest == first.digest),
        "{other:?}"
    );
    publish(storage, "probe", "y", Some("1.0.1")).await;
}

async fn versions_are_chosen_from_the_highest_ever_given(storage: &Storage) {
    for (document, version, expected) in [
        ("a", None, "0.1.0"),
        ("b", None, "0.1.1"),
        ("c", Some("1.3.0-rc.1"), "1.3.0-rc.1"),
        ("d", None, "1.3.0"),
        ("e", Some("1.2.9"), "1.2.9"),
        ("f", None, "1.3.1"),
        ("g", Some("1.10.0"), "1.10.0"),
        ("h", None, "1.10.1"),
    ] {
        let release = publish(storage, "probe", document, version).await;
        assert_eq!(release.version.to_string(), expected, "{document}");
    }
    // An older one, posted without its version, is not the newest: it is a new release.
    assert_eq!(publish(storage, "probe", "a", None).await.version.to_string(), "1.10.2");
}

async fn build_metadata_makes_no_other_version(storage: &Storage) {
    let first = publish(storage, "probe", "x", Some("1.0.0+one")).await;
    assert_eq!(first.version.to_string(), "1.0.0+one");
    let other = post("probe", "x", Some("1.0.0+two")).send(storage).await.unwrap_err();
    assert!(matches!(other, InsertError::VersionTaken { .. }), "{other:?}");
    assert_eq!(storage.release_of_version("probe", "1.0.0").await.unwrap().unwrap().id, first.id);
}

async fn one_name_has_one_spelling(storage: &Storage) {
    publish(storage, "my-probe", "x", None).await;
    for name in ["My-Probe", "my_probe", "my.probe"] {
        let error = post(name, "x", None).send(storage).await.unwrap_err();
        assert!(matches!(&error, InsertError::NameTaken { existing } if existing == "my-probe"), "{error:?}");
    }
}

async fn a_deleted_version_keeps_its_document(storage: &Storage) {
    let first = publish(storage, "probe", "x", Some("1.0.0")).await;
    assert!(storage.delete(&first, &by("paul"), None, at(1)).await.unwrap());
    assert!(!storage.delete(&first, &by("paul"), None, at(1)).await.unwrap(), "it is gone");
    assert_eq!(storage.release(first.id).await.unwrap(), None);
    assert_eq!(storage.queue_depth().await.unwrap(), 0);
    let other = post("probe", "y", Some("1.0.0")).send(storage).await.unwrap_err();
    assert!(matches!(other, InsertError::VersionTaken { deleted: true, .. }), "{other:?}");
    assert_eq!(publish(storage, "probe", "y", None).await.version.to_string(), "1.0.1");
    let again = publish(storage, "probe", "x", Some("1.0.0")).await;
    assert_eq!(again.digest, first.digest);
    assert_ne!(again.id, first.id);
    assert!(storage.delete(&again, &by("paul"), None, at(2)).await.unwrap(), "and goes once more");
}

async fn a_failed_release_posted_again_is_under_review(storage: &Storage) {
    let first = publish(storage, "probe", "x", None).await;
    verify(storage, Status::VerificationFailed, 1).await;
    assert_eq!(storage.queue_depth().await.unwrap(), 0);
    let again = post("probe", "x", None).send(storage).await.unwrap();
    let Published::Again(again) = again else { panic!("{again:?}") };
    assert_eq!((again.id, again.status, again.verdict), (first.id, Status::UnderReview, Verdict::Pending));
    assert_eq!(storage.release(first.id).await.unwrap().unwrap(), again);
    assert_eq!(storage.queue_depth().await.unwrap(), 1);
}

async fn equal_documents_at_once_make_one_release(storage: &Storage) {
    let posts = (0..8).map(|_| async { post("probe", "x", None).send(storage).await.unwrap() });
    let done = futures_util::future::join_all(posts).await;
    assert_eq!(done.iter().filter(|published| matches!(published, Published::New(_))).count(), 1);
    let ids: BTreeSet<String> = done
        .iter()
        .map(|published| match published {
            Published::New(release) | Published::Existing(release) | Published::Again(release) => {
                release.id.to_string()
            }
        })
        .collect();
    assert_eq!(ids.len(), 1);
}

async fn documents_without_version_at_once_get_one_each(storage: &Storage) {
    let names: Vec<String> = (0..8).map(|n| n.to_string()).collect();
    let posts = names.iter().map(|name| async move { publish(storage, "probe", name, None).await });
    let done = futures_util::future::join_all(posts).await;
    let versions: BTreeSet<String> = done.iter().map(|release| release.version.to_string()).collect();
    let expected: BTreeSet<String> = (0..8).map(|n| format!("0.1.{n}")).collect();
    assert_eq!(versions, expected);
}

async fn lists_have_the_newest_approved_in_order(storage: &Storage) {
    for (name, version) in
        [("b", "1.0.0"), ("a", "1.0.0"), ("a", "1.2.0"), ("a", "1.10.0-rc.1"), ("c", "1.0.0-a")]
    {
        publish(storage, name, version, Some(version)).await;
        verify(storage, Status::Approved, 1).await;
    }
    publish(storage, "d", "x", None).await;
    assert_eq!(listed(storage).await, ["b 1.0.0", "a 1.2.0", "c 1.0.0-a"]);
    let of_a = storage.approved_of("a", None, 100).await.unwrap().releases;
    let of_a: Vec<String> = of_a.iter().map(|release| release.version.to_string()).collect();
    assert_eq!(of_a, ["1.2.0", "1.0.0", "1.10.0-rc.1"]);
    let versions = storage.approved_versions("a").await.unwrap();
    assert_eq!(versions.len(), 3);

    let newest = storage.release_of_version("a", "1.2.0").await.unwrap().unwrap();
    let yank = Decision {
        from: Status::Approved,
        to: Status::Yanked,
        action: Action::Yank,
        reason: None,
        by: &by("paul"),
        over_owners: false,
        now: at(2),
    };
    assert!(storage.decide(&newest, yank).await.unwrap());
    assert_eq!(listed(storage).await, ["b 1.0.0", "a 1.0.0", "c 1.0.0-a"]);
    let only_a = Filter { addon: Some("a"), status: None, publisher: None, after: 0, limit: 10 };
    assert_eq!(storage.list(only_a).await.unwrap().releases.len(), 1);
    let nobody = Filter { addon: Some(""), ..only_a };
    assert_eq!(storage.list(nobody).await.unwrap().releases.len(), 0);
}

async fn lists_of_a_status_can_be_ones_own(storage: &Storage) {
    publish(storage, "a", "x", None).await;
    Post { publisher: "paula", ..post("b", "x", None) }.send(storage).await.unwrap();
    let count = async |addon: Option<&str>, status: Status, publisher: Option<&str>| {
        storage
            .list(Filter { addon, status: Some(status), publisher, after: 0, limit: 10 })
            .await
            .unwrap()
            .releases
            .len()
    };
    assert_eq!(count(None, Status::UnderReview, None).await, 2);
    assert_eq!(count(None, Status::UnderReview, Some("paula")).await, 1);
    assert_eq!(count(Some("a"), Status::UnderReview, Some("paula")).await, 0);
    assert_eq!(count(Some("b"), Status::UnderReview, None).await, 1);
    assert_eq!(count(None, Status::Approved, None).await, 0);
}

async fn a_cursor_goes_on_where_it_ended(storage: &Storage) {
    for name in ["a", "b", "c", "d"] {
        publish(storage, name, "x", None).await;
        verify(storage, Status::Approved, 1).await;
    }
    let page = async |after: i64, limit: u32| {
        let filter = Filter { addon: None, status: None, publisher: None, after, limit };
        storage.list(filter).await.unwrap().releases
    };
    let first = page(0, 2).await;
    assert_eq!(first.iter().map(|release| release.addon.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let second = &first[1];
    assert!(
        storage.delete(second, &by("paul"), None, at(2)).await.unwrap(),
        "what the cursor points at may go"
    );
    let rest = page(second.seq, 2).await;
    assert_eq!(rest.iter().map(|release| release.addon.as_str()).collect::<Vec<_>>(), ["c", "d"]);
}

async fn approving_takes_green_checks_and_the_digest(storage: &Storage) {
    let release = publish(storage, "probe", "x", None).await;
    let approve =
        async |digest| storage.approve(&release, digest, &by("rita"), Some("fine"), at(2)).await.unwrap();
    assert!(!approve(release.digest).await, "the checks are open");
    verify(storage, Status::UnderReview, 1).await;
    assert!(!approve(addon_descriptor::Digest::of(b"other")).await);
    assert!(approve(release.digest).await);
    assert!(!approve(release.digest).await, "it is approved already");
    let now = storage.release(release.id).await.unwrap().unwrap();
    assert_eq!(
        (now.status, now.approved_at, now.reason.as_deref()),
        (Status::Approved, Some(at(2)), Some("fine"))
    );
    assert_eq!(listed(storage).await, ["probe 0.1.0"]);
}

async fn a_decision_hits_only_where_it_must(storage: &Storage) {
    let release = publish(storage, "probe", "x", None).await;
    let reject = Decision {
        from: Status::UnderReview,
        to: Status::Rejected,
        action: Action::Reject,
        reason: Some("no"),
        by: &by("rita"),
        over_owners: false,
        now: at(1),
    };
    assert!(!storage.decide(&release, reject).await.unwrap(), "its checks are open");
    verify(storage, Status::UnderReview, 1).await;
    assert!(storage.decide(&release, reject).await.unwrap());
    assert!(!storage.decide(&release, reject).await.unwrap());
    assert!(
        !storage.delete(&release, &by("paul"), None, at(2)).await.unwrap(),
        "it has another status than was decided on"
    );
    assert_eq!(storage.release(release.id).await.unwrap().unwrap().status, Status::Rejected);
}

async fn a_job_is_one_workers_at_a_time(storage: &Storage) {
    for name in ["a", "b", "c"] {
        publish(storage, name, "x", None).await;
    }
    assert_eq!(storage.next_due(None).await.unwrap(), Some(at(0)));
    let claims = (0..8).map(|n| async move {
        let owner = format!("worker {n}");
        storage.claim(&owner, at(1), LEASE, None).await.unwrap()
    });
    let jobs: Vec<Job> = futures_util::future::join_all(claims).await.into_iter().flatten().collect();
    let releases: BTreeSet<String> = jobs.iter().map(|job| job.release.addon.clone()).collect();
    assert_eq!((jobs.len(), releases.len()), (3, 3));
    assert!(jobs.iter().all(|job| job.attempts == 1 && job.purpose == Purpose::Review));
    assert_eq!(storage.next_due(None).await.unwrap(), Some(at(1) + LEASE));
    let later = storage.claim("late", at(2) + LEASE, LEASE, None).await.unwrap().unwrap();
    assert_eq!(later.attempts, 2, "a lease that ran out is anyone's");
}

/// Publishes so many addons of this account; their names are numbered.
async fn flood(storage: &Storage, publisher: &str, count: usize, second: i64) {
    for n in 0..count {
        let (name, description) = (format!("{publisher}-{n}"), "x");
        let post = Post { name: &name, description, version: None, publisher, second };
        assert!(matches!(post.send(storage).await.unwrap(), Published::New(_)));
    }
}

/// Takes a job and records a verdict: whose it was.
async fn next(storage: &Storage, second: i64) -> String {
    verify(storage, Status::Approved, second).await.addon
}

async fn publishers_take_turns(storage: &Storage) {
    flood(storage, "paul", 6, 0).await;
    assert_eq!(next(storage, 10).await, "paul-0");
    flood(storage, "mary", 2, 10).await;
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(next(storage, 10).await);
    }
    assert_eq!(order, ["paul-1", "mary-0", "paul-2", "mary-1"]);
    // Nobody saves up turns: who comes later begins where the queue stands.
    flood(storage, "zoe", 2, 11).await;
    let late = Post { name: "paul-late", publisher: "paul", second: 11, ..post("", "x", None) };
    assert!(matches!(late.send(storage).await.unwrap(), Published::New(_)));
    order.clear();
    while storage.queue_depth().await.unwrap() > 0 {
        order.push(next(storage, 11).await);
    }
    assert_eq!(order, ["paul-3", "zoe-0", "paul-4", "zoe-1", "paul-5", "paul-late"]);
}

async fn a_job_without_answer_goes_with_the_queue(storage: &Storage) {
    flood(storage, "stuck", 1, 0).await;
    let stuck = storage.claim("worker", at(1), LEASE, None).await.unwrap().unwrap();
    flood(storage, "paul", 20, 1).await;
    for n in 0..10 {
        let job = storage.claim("worker", at(2), LEASE, None).await.unwrap().unwrap();
        assert_eq!(job.release.addon, format!("paul-{n}"));
        assert!(storage.record_verdict(&job, &verdicted(Status::Approved), at(2)).await.unwrap());
    }
    assert!(storage.postpone(&stuck, &[], "away", at(2), at(600)).await.unwrap());
    // Were its turn the first still, these would all go before those who have waited longer.
    flood(storage, "mary", 3, 3).await;
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(next(storage, 4).await);
    }
    assert_eq!(order, ["paul-10", "mary-0", "paul-11", "mary-1"]);
    assert_eq!(next(storage, 600).await, "stuck-0", "when it is due, it waits for nobody who came later");
}

async fn one_publishers_jobs_can_be_passed_over(storage: &Storage) {
    flood(storage, "paul", 3, 0).await;
    flood(storage, "mary", 1, 5).await;
    assert_eq!(storage.next_due(Some("paul")).await.unwrap(), Some(at(5)));
    let job = storage.claim("worker", at(5), LEASE, Some("paul")).await.unwrap().unwrap();
    assert_eq!(job.release.addon, "mary-0");
    assert!(storage.others_wait("paul").await.unwrap() && storage.others_wait("mary").await.unwrap());
    assert!(storage.record_verdict(&job, &verdicted(Status::Approved), at(6)).await.unwrap());
    assert!(!storage.others_wait("paul").await.unwrap() && storage.others_wait("mary").await.unwrap());
    assert!(storage.claim("worker", at(5), LEASE, Some("paul")).await.unwrap().is_none());
    assert!(storage.claim("worker", at(5), LEASE, None).await.unwrap().is_some());
}

async fn versions_of_an_addon_come_in_parts(storage: &Storage) {
    for version in ["1.0.0", "1.2.0+build", "1.10.0", "2.0.0-rc.1", "0.9.0-a"] {
        publish(storage, "probe", version, Some(version)).await;
        verify(storage, Status::Approved, 1).await;
    }
    let versions = async |after: Option<&str>, limit| {
        let after = after.map(|after| after.parse().unwrap());
        let part = storage.approved_of("probe", after.as_ref(), limit).await.unwrap();
        part.releases.iter().map(|release| release.version.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(versions(None, 2).await, ["1.10.0", "1.2.0+build"]);
    assert_eq!(versions(Some("1.2.0"), 2).await, ["1.0.0", "2.0.0-rc.1"]);
    assert_eq!(versions(Some("2.0.0-rc.1"), 2).await, ["0.9.0-a"]);
    assert_eq!(versions(Some("1.5.0"), 1).await, ["1.2.0+build"], "one that is gone is a place too");
    assert_eq!(versions(Some("0.1.0-a"), 2).await, [""; 0]);
}

async fn a_lost_lease_records_nothing(storage: &Storage) {
    publish(storage, "probe", "x", None).await;
    let lost = storage.claim("slow", at(0), LEASE, None).await.unwrap().unwrap();
    let held = storage.claim("quick", at(61), LEASE, None).await.unwrap().unwrap();
    assert!(!storage.record_verdict(&lost, &verdicted(Status::Approved), at(62)).await.unwrap());
    assert!(!storage.postpone(&lost, &[], "away", at(62), at(99)).await.unwrap());
    assert_eq!(storage.release(lost.release.id).await.unwrap().unwrap().status, Status::UnderReview);
    assert!(storage.record_verdict(&held, &verdicted(Status::Approved), at(62)).await.unwrap());
    assert_eq!(storage.queue_depth().await.unwrap(), 0);

    publish(storage, "other", "x", None).await;
    let job = storage.claim("gone", at(63), LEASE, None).await.unwrap().unwrap();
    storage.release_leases("gone").await.unwrap();
    assert!(!storage.record_verdict(&job, &verdicted(Status::Approved), at(64)).await.unwrap());
    assert!(storage.claim("next", at(64), LEASE, None).await.unwrap().is_some());
}

async fn a_verdict_counts_only_under_review(storage: &Storage) {
    let release = publish(storage, "probe", "x", None).await;
    let job = storage.claim("worker", at(0), LEASE, None).await.unwrap().unwrap();
    assert!(storage.delete(&release, &by("rita"), None, at(1)).await.unwrap());
    assert!(!storage.record_verdict(&job, &verdicted(Status::Approved), at(2)).await.unwrap());
    assert_eq!(storage.release(release.id).await.unwrap(), None, "it was deleted meanwhile");
}

async fn a_job_without_answer_comes_back_when_due(storage: &Storage) {
    let release = publish(storage, "probe", "x", None).await;
    let job = storage.claim("worker", at(0), LEASE, None).await.unwrap().unwrap();
    assert!(storage.postpone(&job, &[], "away", at(1), at(30)).await.unwrap());
    let now = storage.release(release.id).await.unwrap().unwrap();
    assert_eq!((now.status, now.verdict), (Status::UnderReview, Verdict::NoAnswer));
    assert_eq!(now.reason.as_deref(), Some("away"));
    let (seen, report) = storage.report(release.id).await.unwrap().unwrap();
    assert_eq!(seen, now);
    assert_eq!((report.attempts, report.checked_at, report.next_attempt_at), (1, Some(at(1)), Some(at(30))));
    assert!(storage.claim("worker", at(29), LEASE, None).await.unwrap().is_none());
    assert_eq!(storage.next_due(None).await.unwrap(), Some(at(30)));
    let again = storage.claim("worker", at(30), LEASE, None).await.unwrap().unwrap();
    assert_eq!(again.attempts, 2);
    assert!(storage.record_verdict(&again, &verdicted(Status::Approved), at(31)).await.unwrap());
    assert_eq!(storage.report(release.id).await.unwrap().unwrap().1.next_attempt_at, None);
    assert_eq!(storage.release(release.id).await.unwrap().unwrap().reason, None, "it went with the verdict");
}

async fn a_recheck_leaves_the_status(storage: &Storage) {
    publish(storage, "probe", "x", None).await;
    let release = verify(storage, Status::Approved, 1).await;
    assert!(storage.reverify(&release, Status::Approved, false, None, &by("paul"), at(2)).await.unwrap());
    let job = storage.claim("worker", at(2), LEASE, None).await.unwrap().unwrap();
    assert_eq!(job.purpose, Purpose::Recheck);
    assert!(storage.record_recheck(&job, &[], Some(at(3)), None, at(3)).await.unwrap());
    let now = storage.release(release.id).await.unwrap().unwrap();
    assert_eq!((now.status, now.image_missing_since), (Status::Approved, Some(at(3))));
    assert_eq!(now.verdict, Verdict::Pass, "what it was approved by");
    assert_eq!(storage.queue_depth().await.unwrap(), 0);
}

async fn releases_are_found_together(storage: &Storage) {
    let mut ids = Vec::new();
    for number in 0..8 {
        ids.push(publish(storage, &format!("probe-{number}"), "x", None).await.id);
    }
    let missing = ReleaseId::new(1, [7; 8]);
    // More at once than one question takes, most of them for the same few.
    let asked = (0..300).map(|number| match number % 10 {
        9 => missing,
        at => ids[at % 8],
    });
    let asked: Vec<ReleaseId> = asked.collect();
    let found = futures_util::future::join_all(asked.iter().map(|id| storage.release(*id))).await;
    for (id, found) in asked.iter().zip(found) {
        assert_eq!(found.unwrap().map(|release| release.id), Some(*id).filter(|id| *id != missing));
    }

    // A row that makes no sense is no fault of the others'.
    let sql = "UPDATE releases SET wire = '{' WHERE id = $1";
    let id = ids[3].to_string();
    let done = match storage.db() {
        Db::Sqlite { writer, .. } => sqlx::query(sql).bind(&id).execute(writer).await.map(|_| ()),
        Db::Postgres(pool) => sqlx::query(sql).bind(&id).execute(pool).await.map(|_| ()),
    };
    done.unwrap();
    let found = futures_util::future::join_all(ids.iter().map(|id| storage.release(*id))).await;
    for (at, found) in found.into_iter().enumerate() {
        match found {
            Ok(release) => assert_eq!((release.unwrap().id, at == 3), (ids[at], false)),
            Err(error) => assert!(at == 3 && error.to_string().contains("wire"), "{at}: {error}"),
        }
    }
}

async fn look_alikes_are_what_strangers_had_approved_before(storage: &Storage) {
    let publish = async |name: &str, publisher: &str, second: i64| {
        Post { publisher, second, ..post(name, "x", None) }.send(storage).await.unwrap();
    };
    let alike = async |name: &str| storage.look_alike(name, &name::skeleton(name)).await.unwrap();
    publish("mosqu1tto", "mallory", 1).await;
    verify(storage, Status::VerificationFailed, 2).await;
    publish("mosquitto", "paul", 3).await;
    assert_eq!(alike("mosquitto").await, None, "nobody has seen the other");
    verify(storage, Status::Approved, 4).await;
    assert_eq!(alike("mosqu1tto").await.as_deref(), Some("mosquitto"), "who was first is who was seen first");
    publish("m0squitto", "paul", 5).await;
    assert_eq!(alike("m0squitto").await, None, "one's own");
    let approved = verify(storage, Status::Approved, 6).await;
    assert_eq!(approved.addon, "m0squitto");
    assert_eq!(alike("mosquitto").await, None, "the first one is not to blame");

    let near = async |name: &str| {
        let found = storage.near(name, &name::slips(&name::bare(&name::skeleton(name)))).await.unwrap();
        found.into_iter().map(|other| other.addon).collect::<Vec<_>>()
    };
    publish("mosquito", "mallory", 7).await;
    assert_eq!(near("mosquito").await, ["mosquitto", "m0squitto"]);
    publish("Mos-Quitto", "mallory", 8).await;
    assert_eq!(near("mos-quitto").await, ["mosquitto", "m0squitto"]);
    publish("mosquittoo", "paul", 9).await;
    assert!(near("mosquittoo").await.is_empty(), "one's own");
    assert!(near("mosquitto").await.is_empty(), "what was approved was decided about");
    // A name that is deleted was seen all the same.
    let release = storage.release(approved.id).await.unwrap().unwrap();
    assert!(storage.delete(&release, &by("paul"), None, at(10)).await.unwrap());
    assert_eq!(near("mosquito").await, ["mosquitto", "m0squitto"]);
}

async fn of_look_alikes_at_once_one_is_approved(storage: &Storage) {
    let publish = async |name: &str, publisher: &str| {
        let post = Post { publisher, ..post(name, "x", None) };
        let Published::New(release) = post.send(storage).await.unwrap() else { panic!("{name} is there") };
        release
    };
    let claim = async || storage.claim("worker", at(1), LEASE, None).await.unwrap();
    let standing = async |id| storage.release(id).await.unwrap().unwrap();
    // The rules have looked at both, and nobody's name was approved then: names that read alike, and a slip apart.
    for letter in 'a'..='h' {
        let word = format!("weather-{letter}{letter}{letter}{letter}");
        for (one, other) in [
            (format!("x-l{word}"), format!("x-1{word}")),
            (format!("{word}-gauge"), format!("{word}-gauges")),
        ] {
            publish(&one, "paul").await;
            publish(&other, "mallory").await;
            let jobs = [claim().await.unwrap(), claim().await.unwrap()];
            let passed = verdicted(Status::Approved);
            let record = |job| storage.record_verdict(job, &passed, at(2));
            let (first, second) = tokio::join!(record(&jobs[0]), record(&jobs[1]));
            let approved = [first.unwrap(), second.unwrap()];
            assert!(approved[0] != approved[1], "{one} and {other}: {approved:?}");
            let loser = &jobs[usize::from(approved[0])];
            assert_eq!(standing(loser.release.id).await.status, Status::UnderReview);
            let again = claim().await.expect("it is looked at again at once");
            assert_eq!((again.release.id, again.attempts), (loser.release.id, 2));
            assert!(
                storage.record_verdict(&again, &verdicted(Status::VerificationFailed), at(3)).await.unwrap()
            );
            assert!(claim().await.is_none());
        }
    }

    // Two that wait for a reviewer, whose word for the one makes the other's checks be made again.
    let both = [publish("mosquitto", "paul").await, publish("m0squitto", "mallory").await];
    let reviewed = |release: Release, now| async move {
        storage.approve(&release, release.digest, &by("rita"), None, at(now)).await.unwrap()
    };
    for _ in &both {
        verify(storage, Status::UnderReview, 4).await;
    }
    assert!(reviewed(standing(both[0].id).await, 5).await);
    assert!(!reviewed(standing(both[1].id).await, 6).await);
    let loser = standing(both[1].id).await;
    assert_eq!((loser.status, loser.verdict), (Status::UnderReview, Verdict::Pending));
    let again = storage.claim("worker", at(6), LEASE, None).await.unwrap().unwrap();
    assert_eq!(again.release.id, loser.id);
    assert!(storage.record_verdict(&again, &verdicted(Status::UnderReview), at(7)).await.unwrap());
    // A slip apart: the reviewer who is told decides, the one who was not is told first.
    let near = publish("mosquito", "mary").await;
    verify(storage, Status::UnderReview, 8).await;
    assert!(!reviewed(standing(near.id).await, 9).await);
    let job = storage.claim("worker", at(9), LEASE, None).await.unwrap().unwrap();
    let told = Verdicted { held: vec!["name:mosquitto".to_owned()], ..verdicted(Status::UnderReview) };
    assert!(storage.record_verdict(&job, &told, at(9)).await.unwrap());
    assert!(reviewed(standing(near.id).await, 10).await);
}

async fn rights_are_those_of_the_last_approved(storage: &Storage) {
    assert!(storage.approved_rights("probe").await.unwrap().is_empty());
    publish(storage, "probe", "x", None).await;
    let release = verify(storage, Status::Approved, 1).await;
    let rights = storage.approved_rights("probe").await.unwrap();
    assert_eq!(rights.iter().map(ToString::to_string).collect::<Vec<_>>(), release.rights);
    assert!(!release.rights.is_empty());
    // Neither yanking nor deleting it makes the one before it the last.
    let yank = Decision {
        from: Status::Approved,
        to: Status::Yanked,
        action: Action::Yank,
        reason: None,
        by: &by("paul"),
        over_owners: false,
        now: at(2),
    };
    assert!(storage.decide(&release, yank).await.unwrap());
    assert_eq!(storage.approved_rights("probe").await.unwrap(), rights);
    let release = storage.release(release.id).await.unwrap().unwrap();
    assert!(storage.delete(&release, &by("paul"), None, at(3)).await.unwrap());
    assert_eq!(storage.approved_rights("probe").await.unwrap(), rights);
    // What was withdrawn over its owners' heads is no precedent.
    publish(storage, "probe", "y", None).await;
    let next = verify(storage, Status::Approved, 4).await;
    let yank = Decision { over_owners: true, now: at(5), by: &by("rita"), ..yank };
    assert!(storage.decide(&next, yank).await.unwrap());
    assert!(storage.approved_rights("probe").await.unwrap().is_empty());
    // Nor is what was deleted by somebody who owns nothing of it; one that was never approved is no precedent anyway.
    publish(storage, "probe", "z", None).await;
    let last = verify(storage, Status::Approved, 6).await;
    assert_eq!(storage.approved_rights("probe").await.unwrap(), rights);
    publish(storage, "probe", "w", None).await;
    let failed = verify(storage, Status::VerificationFailed, 7).await;
    assert!(storage.delete(&failed, &by("rita"), None, at(8)).await.unwrap());
    assert_eq!(storage.approved_rights("probe").await.unwrap(), rights);
    assert!(storage.delete(&last, &by("rita"), None, at(9)).await.unwrap());
    assert!(storage.approved_rights("probe").await.unwrap().is_empty());
}

async fn writes_end_the_epochs_of_what_they_change(storage: &Storage) {
    let release = publish(storage, "probe", "x", None).await;
    let epochs = || (storage.epochs().of(Source::Release(release.id)), storage.epochs().of(Source::Approved));
    let before = epochs();
    verify(storage, Status::Approved, 1).await;
    let approved = epochs();
    assert!(approved.0 != before.0 && approved.1 != before.1);
    let now = storage.release(release.id).await.unwrap().unwrap();
    assert!(storage.delete(&now, &by("paul"), None, at(2)).await.unwrap());
    let deleted = epochs();
    assert!(deleted.0 != approved.0 && deleted.1 != approved.1);
}
