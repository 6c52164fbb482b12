//! The table of the moves between a release's statuses, and what deleting one comes to. Pure: what each move takes beside
//! the status (green checks, the reviewed digest, who asks) is `review.rs`.

use super::release::Status;

/// What somebody does to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Every check passed and nothing holds the release.
    Pass,
    /// A check failed.
    Fail,
    /// A reviewer says yes.
    Approve,
    /// A reviewer says no.
    Reject,
    /// The checks are to be made again.
    Reverify,
    /// The same document was posted again.
    Repost,
    /// Out of the lists.
    Yank,
    /// And back.
    Unyank,
    /// Out for good.
    Revoke,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Pass,
        Self::Fail,
        Self::Approve,
        Self::Reject,
        Self::Reverify,
        Self::Repost,
        Self::Yank,
        Self::Unyank,
        Self::Revoke,
    ];

    /// The word for it in messages and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Reverify => "reverify",
            Self::Repost => "repost",
            Self::Yank => "yank",
            Self::Unyank => "unyank",
            Self::Revoke => "revoke",
        }
    }

    /// The word for it in the audit log.
    pub fn audited(self) -> &'static str {
        match self {
            Self::Pass => "release.pass",
            Self::Fail => "release.fail",
            Self::Approve => "release.approve",
            Self::Reject => "release.reject",
            Self::Reverify => "release.reverify",
            Self::Repost => "release.repost",
            Self::Yank => "release.yank",
            Self::Unyank => "release.unyank",
            Self::Revoke => "release.revoke",
        }
    }

    /// What a release becomes by it, in messages.
    pub fn past(self) -> &'static str {
        match self {
            Self::Pass => "passed",
            Self::Fail => "failed",
            Self::Approve => "approved",
            Self::Reject => "rejected",
            Self::Reverify => "verified again",
            Self::Repost => "posted again",
            Self::Yank => "yanked",
            Self::Unyank => "unyanked",
            Self::Revoke => "revoked",
        }
    }

    /// Whether it decides about what the checks found: then all of them have to be green.
    pub fn takes_green_checks(self) -> bool {
        matches!(self, Self::Approve | Self::Reject)
    }
}

/// A move that the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a release that is {status} cannot be {}{}", action.past(), self.way_out())]
pub struct IllegalMove {
    /// Where the release stands.
    pub status: Status,
    /// What was asked for.
    pub action: Action,
}

impl IllegalMove {
    /// What helps where that is known, as the end of a sentence.
    fn way_out(self) -> &'static str {
        match (self.status, self.action) {
            (Status::VerificationFailed, action) if action.takes_green_checks() => {
                ": once what its checks found is mended, have them made again with POST \u{2026}/reverify, or publish the same document again"
            }
            (Status::UnderReview, Action::Reverify) => {
                ": its checks are made, again and again until each has an answer"
            }
            (Status::Rejected, Action::Reverify | Action::Approve) => ": publish the next version",
            (Status::UnderReview | Status::VerificationFailed | Status::Rejected, Action::Yank) => {
                ": it is in no list; DELETE removes it"
            }
            (Status::Revoked, Action::Unyank) => ": a revocation is for good; publish the next version",
            _ => "",
        }
    }
}

/// Where a release stands after `action`: the whole table of the moves there are; what some of them take beside the status
/// is [`Action::takes_green_checks`]. An approved one that is verified again
/// stays approved.
///
/// # Errors
/// Any other move.
pub fn after(status: Status, action: Action) -> Result<Status, IllegalMove> {
    use Action as A;
    use Status as S;
    match (status, action) {
        (S::UnderReview, A::Pass | A::Approve) => Ok(S::Approved),
        (S::UnderReview, A::Fail) => Ok(S::VerificationFailed),
        (S::UnderReview, A::Reject) => Ok(S::Rejected),
        (S::VerificationFailed, A::Reverify | A::Repost) => Ok(S::UnderReview),
        (S::Approved, A::Reverify) => Ok(S::Approved),
        (S::Approved, A::Yank) => Ok(S::Yanked),
        (S::Yanked, A::Unyank) => Ok(S::Approved),
        // Once more with a higher severity: see `Storage::revoke`.
        (S::Approved | S::Yanked | S::Revoked, A::Revoke) => Ok(S::Revoked),
        _ => Err(IllegalMove { status, action }),
    }
}

/// How long an approved release can still be deleted, in milliseconds: 72 hours. After that others may rely on it.
pub const DELETABLE_MS: i64 = 72 * 60 * 60 * 1000;

/// What deleting a release comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// It goes.
    Remove,
    /// Others may rely on it: it is yanked instead.
    Yank,
    /// It is yanked already, and stays.
    Keep,
}

/// Decides what deleting does to a release that was approved at `approved_at_ms`, if ever.
///
/// # Errors
/// A revoked release is never deleted: its revocation is what protects those who have it.
pub fn deletion(status: Status, approved_at_ms: Option<i64>, now_ms: i64) -> Result<Deletion, Undeletable> {
    let relied_on = approved_at_ms.is_some_and(|at| now_ms.saturating_sub(at) > DELETABLE_MS);
    match status {
        Status::Revoked => Err(Undeletable),
        Status::Approved if relied_on => Ok(Deletion::Yank),
        Status::Yanked if relied_on => Ok(Deletion::Keep),
        _ => Ok(Deletion::Remove),
    }
}

/// The release is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a release that is revoked cannot be deleted: its revocation protects those who have it")]
pub struct Undeletable;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_status_and_action_is_decided() {
        let legal = [
            ("under_review", "pass", "approved"),
            ("under_review", "fail", "verification_failed"),
            ("under_review", "approve", "approved"),
            ("under_review", "reject", "rejected"),
            ("verification_failed", "reverify", "under_review"),
            ("verification_failed", "repost", "under_review"),
            ("approved", "reverify", "approved"),
            ("approved", "yank", "yanked"),
            ("yanked", "unyank", "approved"),
            ("approved", "revoke", "revoked"),
            ("yanked", "revoke", "revoked"),
            ("revoked", "revoke", "revoked"),
        ];
        for status in Status::ALL {
            for action in Action::ALL {
                let expected =
                    legal.iter().find(|(from, by, _)| (*from, *by) == (status.as_str(), action.as_str()));
                match (after(status, action), expected) {
                    (Ok(to), Some((_, _, expected))) => assert_eq!(to.as_str(), *expected),
                    (Err(illegal), None) => assert!(illegal.to_string().contains(status.as_str())),
                    (found, expected) => panic!("{status} {action:?}: {found:?}, expected {expected:?}"),
                }
            }
        }
    }

    #[test]
    fn a_move_that_there_is_not_names_the_one_that_helps() {
        for (status, action, part) in [
            (Status::VerificationFailed, Action::Approve, "/reverify"),
            (Status::VerificationFailed, Action::Reject, "/reverify"),
            (Status::UnderReview, Action::Reverify, "until each has an answer"),
            (Status::Rejected, Action::Approve, "the next version"),
        ] {
            let said = after(status, action).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
            let Some(next) = part.strip_prefix('/') else { continue };
            let named = Action::ALL.into_iter().find(|action| action.as_str() == next).unwrap();
            assert!(after(status, named).is_ok(), "{said}");
        }
    }

    #[test]
    fn what_others_rely_on_is_yanked_instead_of_deleted() {
        let day = 24 * 60 * 60 * 1000;
        for (status, approved, expected) in [
            (Status::UnderReview, None, Ok(Deletion::Remove)),
            (Status::VerificationFailed, None, Ok(Deletion::Remove)),
            (Status::Rejected, None, Ok(Deletion::Remove)),
            (Status::Approved, Some(10 * day), Ok(Deletion::Remove)),
            (Status::Approved, Some(7 * day), Ok(Deletion::Remove)),
            (Status::Approved, Some(7 * day - 1), Ok(Deletion::Yank)),
            (Status::Yanked, Some(8 * day), Ok(Deletion::Remove)),
            (Status::Yanked, Some(day), Ok(Deletion::Keep)),
            (Status::Revoked, Some(day), Err(Undeletable)),
            (Status::Revoked, Some(10 * day), Err(Undeletable)),
        ] {
            assert_eq!(deletion(status, approved, 10 * day), expected, "{status} {approved:?}");
        }
    }
}
