//! A rollout: the change of an installation from one revision to another, one at a time, with the way back kept open until the end.
//!
//! What is done in which order stands in `reconciler/plan/rollout.rs`.

use std::collections::BTreeSet;
use std::str::FromStr;

use addon_client::Timestamp;

use super::installation::InstallationId;

/// What a rollout was begun for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutKind {
    /// Another release.
    Upgrade,
    /// A revision that was there before.
    Rollback,
    /// The same release with other parameters.
    Parameters,
}

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutPhase {
    /// To the new revision.
    Forward,
    /// Something failed: back to the old one.
    Back,
    /// Every service of the new revision passed its gate.
    Done,
    /// The old revision runs again.
    Undone,
    /// Disabling or uninstalling came in between: the old revision is the installation's.
    Ended,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Key of its row; later ones are greater.
    pub id: i64,
    /// Whose.
    pub installation: InstallationId,
    /// What for.
    pub kind: RolloutKind,
    /// The revision that it leaves, and comes back to when it fails.
    pub from: i64,
    /// The revision that it goes to.
    pub to: i64,
    /// How far it is.
    pub phase: RolloutPhase,
    /// Services that are as the new revision has them.
    pub moved: BTreeSet<String>,
    /// Of these the ones that passed their gate.
    pub passed: BTreeSet<String>,
    /// Milliseconds that count against its deadline.
    pub used_ms: i64,
    /// Why it goes, or went, back.
    pub why: Option<String>,
    /// The last lines of the log of what failed.
    pub logs: Option<String>,
    /// Account that asked for it.
    pub asked_by: String,
    /// The last attempt that was written down before it began: later ones are its own.
    pub after_attempt: i64,
    /// Since when.
    pub opened_at: Timestamp,
    /// Until when; none while it is under way.
    pub ended_at: Option<Timestamp>,
}

impl RolloutKind {
    const ALL: [Self; 3] = [Self::Upgrade, Self::Rollback, Self::Parameters];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
            Self::Parameters => "parameters",
        }
    }

    /// For people: `the upgrade`.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Upgrade => "the upgrade",
            Self::Rollback => "the rollback",
            Self::Parameters => "the change of parameters",
        }
    }
}

impl RolloutPhase {
    const ALL: [Self; 5] = [Self::Forward, Self::Back, Self::Done, Self::Undone, Self::Ended];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Back => "back",
            Self::Done => "done",
            Self::Undone => "undone",
            Self::Ended => "ended",
        }
    }
}

impl FromStr for RolloutKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

impl FromStr for RolloutPhase {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_again() {
        for kind in RolloutKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        for phase in RolloutPhase::ALL {
            assert_eq!(phase.as_str().parse(), Ok(phase));
        }
        assert_eq!("sideways".parse::<RolloutPhase>(), Err(()));
    }
}
