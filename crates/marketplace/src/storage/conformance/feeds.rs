//! What is told to those who follow, in which order; what feeds and badges show; how installations are counted.

use addon_client::{InstallReport, ReleaseEvent, ReleaseEventKind as Kind};
use service_kit::write_tx;

use super::{Action, Decision, Release, Status, Storage, at, by, publish, verify};
use crate::domain::search::{Sort, Words};
use crate::storage::{Counted, KEPT_EVENTS, Revoked, Revoking, Search, Standing, StorageError};
use addon_client::trust::Severity;

async fn decide(storage: &Storage, release: &Release, action: Action, to: Status, second: i64) {
    let reason = Some("because");
    let decision = Decision {
        from: release.status,
        to,
        action,
        reason,
        by: &by("paul"),
        over_owners: false,
        now: at(second),
    };
    assert!(storage.decide(release, decision).await.unwrap(), "{action:?}");
}

async fn again(storage: &Storage, release: &Release) -> Release {
    storage.release(release.id).await.unwrap().unwrap()
}

async fn approved(storage: &Storage, name: &str, version: &str, second: i64) -> Release {
    publish(storage, name, version, Some(version)).await;
    verify(storage, Status::Approved, second).await
}

/// Gives numbers to everything, and reads it all.
async fn told(storage: &Storage) -> Vec<ReleaseEvent> {
    while storage.events_wait().await.unwrap() {
        assert!(storage.number_events(2, at(90)).await.unwrap() > 0);
    }
    let events = storage.events_after(0, 1_000).await.unwrap();
    let positions: Vec<i64> = events.iter().map(|numbered| numbered.position).collect();
    assert_eq!(positions, (1..).take(events.len()).collect::<Vec<i64>>());
    events.into_iter().map(|numbered| numbered.event).collect()
}

pub(super) async fn what_everybody_may_see_is_told_in_its_order(storage: &Storage) {
    publish(storage, "failed", "x", None).await;
    verify(storage, Status::VerificationFailed, 1).await;
    publish(storage, "waiting", "x", None).await;
    verify(storage, Status::UnderReview, 2).await;
    assert!(told(storage).await.is_empty(), "nobody may see these yet");

    let release = approved(storage, "My-Probe", "1.0.0", 3).await;
    decide(storage, &release, Action::Yank, Status::Yanked, 4).await;
    decide(storage, &again(storage, &release).await, Action::Unyank, Status::Approved, 5).await;
    let revoking = Revoking {
        from: Status::Approved,
        severity: Severity::Warn,
        reason: "it may mine coins",
        fixed_in: None,
        by: &by("rita"),
        now: at(6),
    };
    let revoked = storage.revoke(&again(storage, &release).await, revoking).await.unwrap();
    assert_eq!(revoked, Revoked::Done);
    let raising = Revoking {
        from: Status::Revoked,
        severity: Severity::Stop,
        reason: "it mines coins",
        fixed_in: None,
        by: &by("rita"),
        now: at(6),
    };
    let raised = storage.revoke(&again(storage, &release).await, raising).await.unwrap();
    assert_eq!(raised, Revoked::Done);
    let deleted = approved(storage, "other", "1.0.0", 7).await;
    assert!(storage.delete(&deleted, &by("paul"), Some("by mistake"), at(8)).await.unwrap());
    let held = publish(storage, "rejected", "x", None).await;
    let held = {
        verify(storage, Status::UnderReview, 9).await;
        again(storage, &held).await
    };
    decide(storage, &held, Action::Reject, Status::Rejected, 10).await;

    let events = told(storage).await;
    let shown: Vec<_> = events.iter().map(|event| (event.name.as_str(), event.kind)).collect();
    assert_eq!(
        shown,
        [
            ("My-Probe", Kind::Approved),
            ("My-Probe", Kind::Yanked),
            ("My-Probe", Kind::Unyanked),
            ("My-Probe", Kind::Revoked),
            ("My-Probe", Kind::Revoked),
            ("other", Kind::Approved),
            ("other", Kind::Deleted),
        ]
    );
    assert_eq!(events[1].reason.as_deref(), Some("because"));
    assert_eq!(events[6].reason.as_deref(), Some("by mistake"));
    assert_eq!((events[0].version.as_str(), events[0].digest), ("1.0.0", release.digest));
    assert_eq!((events[0].release_id, events[0].at), (release.id, at(90)));
    assert_eq!(
        (events[4].reason.as_deref(), events[4].severity.as_deref()),
        (Some("it mines coins"), Some("stop"))
    );
    assert_eq!(events[3].severity.as_deref(), Some("stop"), "what holds now, and once");
    assert_eq!(storage.event_bounds().await.unwrap(), (0, 7));
    assert_eq!(storage.number_events(10, at(91)).await.unwrap(), 0);
}

pub(super) async fn an_image_that_goes_and_comes_back_is_told(storage: &Storage) {
    let release = approved(storage, "probe", "1.0.0", 1).await;
    for (second, missing) in [(2, Some(at(2))), (3, Some(at(2))), (4, None)] {
        let reverified =
            storage.reverify(&release, Status::Approved, false, None, &by("paul"), at(second)).await;
        assert!(reverified.unwrap());
        let job = storage.claim("worker", at(second), super::LEASE, None).await.unwrap().unwrap();
        assert!(storage.record_recheck(&job, &[], missing, None, at(second)).await.unwrap());
    }
    let kinds: Vec<Kind> = told(storage).await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Approved, Kind::ImageMissing, Kind::ImageFound]);
}

pub(super) async fn only_the_newest_events_are_kept(storage: &Storage) {
    approved(storage, "first", "1.0.0", 1).await;
    told(storage).await;
    set_count(storage, KEPT_EVENTS).await.unwrap();
    approved(storage, "second", "1.0.0", 2).await;
    while storage.events_wait().await.unwrap() {
        storage.number_events(10, at(3)).await.unwrap();
    }
    let last = KEPT_EVENTS + 1;
    assert_eq!(storage.event_bounds().await.unwrap(), (last - 1, last));
    let kept = storage.events_after(0, 10).await.unwrap();
    assert_eq!(kept.iter().map(|numbered| numbered.position).collect::<Vec<_>>(), [last]);
}

/// As if so many events had been told already.
async fn set_count(storage: &Storage, last: i64) -> Result<(), StorageError> {
    write_tx!(storage.db(), |tx| {
        sqlx::query("UPDATE event_count SET last = $1").bind(last).execute(&mut *tx).await?;
    });
    Ok(())
}

pub(super) async fn a_marketplace_stays_the_one_it_is(storage: &Storage) {
    let identity = storage.identity().await.unwrap();
    assert!(identity.uid.len() == 32 && identity.uid.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(identity.uid, identity.uid.to_lowercase());
    // Made by the database's clock, which is that of the machine or near it.
    assert!(identity.made_at > at(0), "{identity:?}");
    assert_eq!(storage.identity().await.unwrap(), identity);
}

pub(super) async fn feeds_have_what_was_approved_last(storage: &Storage) {
    for (name, version, second) in
        [("a", "2.0.0", 10), ("b", "1.0.0", 30), ("a", "1.0.1", 40), ("c", "1.0.0", 20)]
    {
        approved(storage, name, version, second).await;
    }
    publish(storage, "waiting", "x", None).await;
    let names = async |addon: Option<&str>, limit| {
        let releases = storage.newest_approved(addon, limit).await.unwrap();
        releases.iter().map(|release| format!("{} {}", release.addon, release.version)).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 10).await, ["a 1.0.1", "b 1.0.0", "c 1.0.0", "a 2.0.0"]);
    assert_eq!(names(None, 2).await, ["a 1.0.1", "b 1.0.0"]);
    assert_eq!(names(Some("a"), 10).await, ["a 1.0.1", "a 2.0.0"]);
    assert!(names(Some("waiting"), 10).await.is_empty());
}

pub(super) async fn an_addon_is_listed_withdrawn_or_neither(storage: &Storage) {
    assert_eq!(storage.standing("probe").await.unwrap(), Standing::None);
    publish(storage, "probe", "x", Some("1.0.0")).await;
    assert_eq!(storage.standing("probe").await.unwrap(), Standing::None);
    let release = verify(storage, Status::Approved, 1).await;
    approved(storage, "probe", "2.0.0-rc.1", 2).await;
    let Standing::Listed(listed) = storage.standing("probe").await.unwrap() else { panic!("it is listed") };
    assert_eq!(listed.version.to_string(), "1.0.0", "a pre-release only where there is nothing else");
    let Some(newest) = storage.newest_approved(Some("probe"), 1).await.unwrap().pop() else { panic!() };
    for release in [release, newest] {
        decide(storage, &again(storage, &release).await, Action::Yank, Status::Yanked, 3).await;
    }
    assert_eq!(storage.standing("probe").await.unwrap(), Standing::Withdrawn);
}

fn report(addon: &str, number: u32) -> InstallReport {
    InstallReport { addon: addon.to_owned(), report: format!("{number:032x}") }
}

async fn count(storage: &Storage, addon: &str, number: u32, second: i64) -> Counted {
    storage.count_install(addon, &report(addon, number), at(second)).await.unwrap()
}

async fn by_installs(storage: &Storage, sort: Sort) -> Vec<String> {
    let words = Words::of("");
    let search = Search { words: &words, facets: &[], addon: None };
    let found = storage.search(&search, sort, None, 10).await.unwrap();
    found.releases.into_iter().map(|release| release.addon).collect()
}

pub(super) async fn a_report_is_counted_once_and_ranks(storage: &Storage) {
    const DAY: i64 = 24 * 3600;
    approved(storage, "older", "1.0.0", 1).await;
    approved(storage, "newer", "1.0.0", 2).await;
    assert_eq!(by_installs(storage, Sort::Relevance).await, ["newer", "older"]);
    assert_eq!(count(storage, "none", 1, 3).await, Counted::NoAddon);
    for (number, total) in [(1, 1), (2, 2), (3, 3), (4, 4)] {
        assert_eq!(count(storage, "older", number, 3).await, Counted::New(total));
        assert_eq!(count(storage, "older", number, 4).await, Counted::Known);
    }
    assert_eq!(count(storage, "newer", 1, 3).await, Counted::New(1), "another addon's report is another");
    assert_eq!(by_installs(storage, Sort::Installs).await, ["older", "newer"]);
    assert_eq!(by_installs(storage, Sort::Relevance).await, ["older", "newer"], "the stored rank follows");

    // Words and facets went along with the new rank.
    let words = Words::of("older");
    let search = Search { words: &words, facets: &[], addon: None };
    assert_eq!(storage.search(&search, Sort::Name, None, 10).await.unwrap().releases.len(), 1);
    assert_eq!(storage.facets(&search).await.unwrap().counted, 1);

    let stats = storage.addon_stats("older").await.unwrap().unwrap();
    assert_eq!((stats.name.as_str(), stats.installs, stats.releases), ("older", 4, 1));
    assert_eq!((stats.first_approved_at, stats.last_approved_at), (at(1), at(1)));
    assert_eq!(storage.addon_stats("none").await.unwrap(), None);

    // On a later day it is known still, and forgotten in the end.
    assert_eq!(count(storage, "older", 1, 7 * DAY).await, Counted::Known);
    assert!(storage.knows_report("older", &report("older", 1).report, at(7 * DAY)).await.unwrap());
    assert!(!storage.knows_report("newer", &report("older", 2).report, at(7 * DAY)).await.unwrap());
    assert!(!storage.knows_report("older", &report("older", 1).report, at(9 * DAY)).await.unwrap());
    assert_eq!(count(storage, "older", 9, 9 * DAY).await, Counted::New(5));
    assert_eq!(reports(storage).await, 1, "what is over is removed");

    // What is listed next has the count.
    approved(storage, "older", "2.0.0", 9 * DAY).await;
    assert_eq!(storage.addon_stats("older").await.unwrap().unwrap().installs, 5);
    assert_eq!(by_installs(storage, Sort::Installs).await, ["older", "newer"]);
}

async fn reports(storage: &Storage) -> i64 {
    let sql = "SELECT COUNT(*) FROM installers";
    service_kit::read!(storage.db(), |pool| sqlx::query_scalar(sql).fetch_one(pool).await).unwrap()
}

pub(super) async fn reports_at_once_are_all_counted(storage: &Storage) {
    approved(storage, "probe", "1.0.0", 1).await;
    let reports = (0..40).map(|number| count(storage, "probe", number % 20, 2));
    let done = futures_util::future::join_all(reports).await;
    let new = done.iter().filter(|counted| matches!(counted, Counted::New(_))).count();
    assert_eq!(new, 20);
    assert_eq!(storage.addon_stats("probe").await.unwrap().unwrap().installs, 20);
    assert_eq!(by_installs(storage, Sort::Installs).await, ["probe"]);
}

pub(super) async fn counts_are_of_everything(storage: &Storage) {
    let stats = storage.market_stats(at(1)).await.unwrap();
    assert_eq!((stats.addons, stats.queue, stats.releases["approved"]), (0, 0, 0));
    assert_eq!(stats.releases.len(), Status::ALL.len());
    approved(storage, "a", "1.0.0", 1).await;
    approved(storage, "a", "1.1.0", 2).await;
    publish(storage, "b", "x", None).await;
    count(storage, "a", 1, 3).await;
    count(storage, "a", 2, 3).await;
    let stats = storage.market_stats(at(4)).await.unwrap();
    assert_eq!((stats.addons, stats.listed, stats.publishers), (2, 1, 1));
    assert_eq!((stats.releases["approved"], stats.releases["under_review"]), (2, 1));
    assert_eq!((stats.installs, stats.revocations, stats.queue), (2, 0, 1));
    assert_eq!(stats.counted_at, at(4));
}
