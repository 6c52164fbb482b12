//! What follows from the checks of a release: who decides, what is held, when to ask again. Pure; the checks themselves
//! are `verification/checks.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use addon_client::{Check, Timestamp, Verdict};
use addon_descriptor::{Level, Right};
use serde::{Deserialize, Serialize};

/// Who approves what passes its checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The service, except what is held.
    #[default]
    Automatic,
    /// A reviewer.
    Manual,
}

/// What a finished run of the checks comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing stands against it.
    Approve,
    /// The checks are green and a reviewer decides.
    AwaitReviewer,
    /// A check failed, for this reason.
    Fail(String),
    /// A check could not be made: nothing is known, and it is made again.
    AskAgain,
}

/// The verdict over all checks: the worst of theirs. No checks at all are no pass.
pub fn overall(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Pending)
}

/// What becomes of a release under review. One failed check decides, even while another has no answer.
pub fn decide(checks: &[Check], held: &[String], mode: Mode) -> Decision {
    match overall(checks) {
        Verdict::Fail => {
            let failed = checks.iter().filter(|check| check.verdict == Verdict::Fail);
            Decision::Fail(failed.map(|check| check.message.as_str()).collect::<Vec<_>>().join("; "))
        }
        Verdict::NoAnswer | Verdict::Pending => Decision::AskAgain,
        Verdict::Pass if mode == Mode::Manual || !held.is_empty() => Decision::AwaitReviewer,
        Verdict::Pass => Decision::Approve,
    }
}

/// Most texts that [`why_open`] names.
const MOST_NAMED: usize = 3;

/// Why there is no verdict yet, in a sentence: who gives no answer, and when it is asked for again.
pub fn why_open(checks: &[Check], next: Timestamp) -> String {
    let open = |check: &&Check| matches!(check.verdict, Verdict::NoAnswer | Verdict::Pending);
    // Of an image that is not known its platforms are not either: once is enough.
    let of_images = |check: &&Check| check.check == "image-exists";
    let mut messages: Vec<&str> = Vec::new();
    for check in checks.iter().filter(open).filter(of_images) {
        if !messages.contains(&check.message.as_str()) {
            messages.push(&check.message);
        }
    }
    if messages.is_empty() {
        messages.extend(checks.iter().find(open).map(|check| check.message.as_str()));
    }
    let more = messages.len().saturating_sub(MOST_NAMED);
    messages.truncate(MOST_NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("no verdict yet: {}{more}; tried again at {next}", messages.join("; "))
}

/// What stands before the name of another in what is held.
const HELD_NAME: &str = "name:";

/// What a reviewer has to decide about: the name, where one of somebody else is `near`, and the rights of a held level that
/// the addon's last approved release did not have.
pub fn held(
    rights: &BTreeSet<Right>,
    approved_before: &BTreeSet<Right>,
    levels: &BTreeSet<Level>,
    near: Option<&str>,
) -> Vec<String> {
    let name = near.map(|other| format!("{HELD_NAME}{other}"));
    let rights = rights
        .difference(approved_before)
        .filter(|right| levels.contains(&right.level()))
        .map(ToString::to_string);
    name.into_iter().chain(rights).collect()
}

/// Whether a reviewer is told of a name that the release's own is a slip away from.
pub fn holds_name(held: &[String]) -> bool {
    held.iter().any(|held| held.starts_with(HELD_NAME))
}

/// What a reviewer has to decide about, in a sentence's end; nothing is held where all of them wait for one.
pub fn why_waiting(held: &[String]) -> String {
    let (names, rights): (Vec<_>, Vec<_>) = held.iter().partition(|held| held.starts_with(HELD_NAME));
    let name = names.first().and_then(|name| name.strip_prefix(HELD_NAME));
    let name = name.map(|other| format!("its name, which is a slip away from {other} of somebody else"));
    let rights: Vec<&str> = rights.into_iter().map(String::as_str).collect();
    let rights =
        (!rights.is_empty()).then(|| format!("rights that no approved release had: {}", rights.join(", ")));
    match (name, rights) {
        (None, None) => "a reviewer decides: review.mode is manual".to_owned(),
        (Some(one), None) | (None, Some(one)) => format!("a reviewer decides about {one}"),
        (Some(name), Some(rights)) => format!("a reviewer decides about {name}, and about {rights}"),
    }
}

/// When to ask again after no answer.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Before the second attempt; doubled for each one after.
    pub base: Duration,
    /// Longest wait of our own choosing.
    pub cap: Duration,
}

/// Longest that a registry's own `Retry-After` is followed: one that asks for more is asked anyway.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

impl Backoff {
    /// The wait before the next attempt, when `attempts` were made. `jitter` is from 0 to 1 and takes up to half of the
    /// wait off, so that releases that failed together do not come back together; what a registry asked for
    /// is waited out in full.
    pub fn wait(&self, attempts: u32, jitter: f64, asked_for: Option<Duration>) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        let full = self.base.saturating_mul(1 << doublings).min(self.cap);
        let ours = full.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0);
        ours.max(asked_for.unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }
}

/// Whether somebody may approve this release: nobody approves their own, where somebody could whose it is not.
pub fn may_decide(is_own: bool, others_review: bool) -> bool {
    !is_own || !others_review
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verdict: Verdict) -> Check {
        Check {
            check: "image-exists".to_owned(),
            subject: None,
            verdict,
            message: format!("{verdict:?}"),
            evidence: serde_json::Map::new(),
            attempts: 1,
            next_attempt_at: None,
            checked_at: None,
        }
    }

    #[test]
    fn only_a_run_in_which_everything_passed_approves() {
        use Verdict::{Fail, NoAnswer, Pass, Pending};
        let held = ["docker-socket".to_owned()];
        for (verdicts, held, mode, expected) in [
            (vec![Pass, Pass], &[][..], Mode::Automatic, Decision::Approve),
            (vec![Pass, Pass], &held[..], Mode::Automatic, Decision::AwaitReviewer),
            (vec![Pass, Pass], &[][..], Mode::Manual, Decision::AwaitReviewer),
            (vec![Pass, NoAnswer], &[][..], Mode::Automatic, Decision::AskAgain),
            (vec![NoAnswer], &[][..], Mode::Manual, Decision::AskAgain),
            (vec![Pass, Pending], &[][..], Mode::Automatic, Decision::AskAgain),
            (vec![], &[][..], Mode::Automatic, Decision::AskAgain),
            (vec![Pass, Fail], &[][..], Mode::Automatic, Decision::Fail("Fail".to_owned())),
            (vec![NoAnswer, Fail], &held[..], Mode::Manual, Decision::Fail("Fail".to_owned())),
        ] {
            let checks: Vec<Check> = verdicts.iter().copied().map(check).collect();
            assert_eq!(decide(&checks, held, mode), expected, "{verdicts:?} {mode:?}");
        }
    }

    #[test]
    fn every_failure_is_in_the_reason() {
        let checks = [check(Verdict::Fail), check(Verdict::Pass), check(Verdict::Fail)];
        assert_eq!(decide(&checks, &[], Mode::Automatic), Decision::Fail("Fail; Fail".to_owned()));
    }

    #[test]
    fn who_gives_no_answer_is_named_once_and_when_it_is_asked_again() {
        let check = |kind: &str, verdict, message: &str| Check {
            check: kind.to_owned(),
            message: message.to_owned(),
            ..check(verdict)
        };
        let next = Timestamp::from_millis(0);
        let mut checks = vec![
            check("name-allowed", Verdict::Pass, "fine"),
            check("image-exists", Verdict::NoAnswer, "a:1: x gives no answer"),
            check("platforms-fit", Verdict::NoAnswer, "the platforms of a:1 are not known"),
            check("image-exists", Verdict::NoAnswer, "a:1: x gives no answer"),
        ];
        let expected = format!("no verdict yet: a:1: x gives no answer; tried again at {next}");
        assert_eq!(why_open(&checks, next), expected);
        checks.extend((0..9).map(|n| check("image-exists", Verdict::NoAnswer, &format!("b:{n}"))));
        let expected =
            format!("no verdict yet: a:1: x gives no answer; b:0; b:1; and 7 more; tried again at {next}");
        assert_eq!(why_open(&checks, next), expected);
        assert!(why_open(&checks[2..3], next).contains("platforms of a:1"));
    }

    #[test]
    fn new_rights_of_a_held_level_are_held() {
        let rights =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<Right>>();
        let dangerous = BTreeSet::from([Level::Dangerous]);
        let asked = rights(&["docker-socket", "host-port:80/tcp", "privileged"]);
        assert_eq!(held(&asked, &rights(&[]), &dangerous, None), ["docker-socket", "privileged"]);
        assert_eq!(held(&asked, &rights(&["docker-socket"]), &dangerous, None), ["privileged"]);
        assert!(held(&asked, &asked, &dangerous, None).is_empty());
        assert_eq!(held(&asked, &asked, &dangerous, Some("probes")), ["name:probes"]);
        let both = held(&asked, &rights(&[]), &dangerous, Some("probes"));
        assert_eq!(both, ["name:probes", "docker-socket", "privileged"]);
        for (held, expected) in [
            (
                &both[..],
                "about its name, which is a slip away from probes of somebody else, and about rights that no \
                        approved release had: docker-socket, privileged",
            ),
            (&both[1..], "about rights that no approved release had: docker-socket, privileged"),
            (&both[..1], "about its name, which is a slip away from probes of somebody else"),
            (&[], "review.mode is manual"),
        ] {
            let said = why_waiting(held);
            assert!(said.ends_with(expected), "{said}");
        }
        assert!(held(&asked, &rights(&[]), &BTreeSet::new(), None).is_empty());
        assert_eq!(
            held(&asked, &rights(&["privileged"]), &BTreeSet::from([Level::Normal]), None),
            ["host-port:80/tcp"]
        );
    }

    #[test]
    fn waits_double_up_to_the_cap_and_heed_the_registry() {
        let seconds = Duration::from_secs;
        let backoff = Backoff { base: seconds(2), cap: seconds(300) };
        let waits: Vec<_> = (0..5).map(|attempts| backoff.wait(attempts, 0.0, None).as_secs()).collect();
        assert_eq!(waits, [2, 2, 4, 8, 16]);
        assert_eq!(backoff.wait(u32::MAX, 0.0, None), seconds(300));
        assert_eq!(backoff.wait(3, 1.0, None), seconds(4));
        assert_eq!(backoff.wait(1, 0.5, Some(seconds(90))), seconds(90));
        assert_eq!(backoff.wait(9, 0.0, Some(seconds(1))), seconds(300));
        assert_eq!(backoff.wait(1, 0.0, Some(seconds(86_400))), LONGEST_RETRY_AFTER);
    }

    #[test]
    fn nobody_approves_their_own_where_another_could() {
        assert!(may_decide(false, true));
        assert!(!may_decide(true, true));
        assert!(may_decide(true, false));
    }
}
