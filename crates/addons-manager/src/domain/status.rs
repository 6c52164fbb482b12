//! The status of an installation: what is stored of each service after a pass, and the one function that derives the whole from it.
//!
//! How a service's own state comes about stands in `reconciler/report.rs`. Nothing here knows the engine, the database or the clock.

use std::collections::BTreeSet;

pub use addon_client::{Condition, Health, InstallationStatus, ServicePhase, Timestamp, Waiting};
use serde::{Deserialize, Serialize};

use super::installation::Desired;

/// How one service was found by the last pass; stored with the installation, so that it is shown while the engine does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Name in the descriptor.
    pub service_name: String,
    /// What it does. `Failed`: it waits in backoff, is unhealthy, cannot be created, or is a job that failed.
    pub phase: ServicePhase,
    /// What its check says; none without a check, or while it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Name of its container, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Starts after the first one since install or enable, whoever began them: the engine, this manager, a person.
    #[serde(default)]
    pub restarts: u32,
    /// The row of the newest run that `restarts` counts; 0 before the first.
    #[serde(default)]
    pub last_run: i64,
    /// Since when it is in this phase and health.
    pub since: Timestamp,
    /// How its last run ended, while it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// The last lines of its log, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,
}

impl ServiceReport {
    /// Whether it is as it should be: it runs, healthy where there is a check, or is a job that is done.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, ServicePhase::Running | ServicePhase::Completed)
    }

    /// Whether it has failed: it waits in backoff, is unhealthy, cannot be created, or is a job that failed.
    pub fn has_failed(&self) -> bool {
        self.phase == ServicePhase::Failed
    }
}

/// A change of revision that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To a newer revision.
    Forward,
    /// Back to an older one.
    Back,
}

/// What a status is derived from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What is wanted.
    pub desired: Desired,
    /// Whether containers or networks of it are left on the engine.
    pub leftovers: bool,
    /// Whether its revision is being changed.
    pub rollout: Option<Direction>,
    /// Services that have been up since install or enable.
    pub been_up: &'a BTreeSet<String>,
    /// Every service, as found.
    pub services: &'a [ServiceReport],
}

/// The status of an installation: the first that applies.
pub fn derive(facts: &Facts<'_>) -> InstallationStatus {
    if facts.desired != Desired::Active {
        return if facts.leftovers { InstallationStatus::Disabling } else { InstallationStatus::Disabled };
    }
    match facts.rollout {
        Some(Direction::Forward) => return InstallationStatus::Upgrading,
        Some(Direction::Back) => return InstallationStatus::RollingBack,
        None => {}
    }
    let failed = facts.services.iter().any(ServiceReport::has_failed);
    let all_been_up =
        facts.services.iter().all(|service| service.is_up() || facts.been_up.contains(&service.service_name));
    if facts.services.iter().all(ServiceReport::is_up) {
        InstallationStatus::Active
    } else if !all_been_up && !failed {
        InstallationStatus::Installing
    } else if failed && !facts.services.iter().any(ServiceReport::is_up) {
        InstallationStatus::Failed
    } else {
        InstallationStatus::PartiallyActive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, phase: ServicePhase) -> ServiceReport {
        ServiceReport {
            service_name: name.into(),
            phase,
            health: None,
            container: None,
            restarts: 0,
            last_run: 0,
            since: Timestamp::from_millis(0),
            exit_code: None,
            waiting: None,
            logs: None,
        }
    }

    fn check(phases: &[ServicePhase], been_up: &[usize], expected: InstallationStatus) {
        let services: Vec<_> =
            phases.iter().enumerate().map(|(n, phase)| service(&format!("s{n}"), *phase)).collect();
        let been_up = been_up.iter().map(|n| format!("s{n}")).collect();
        let facts = Facts {
            desired: Desired::Active,
            leftovers: true,
            rollout: None,
            been_up: &been_up,
            services: &services,
        };
        assert_eq!(derive(&facts), expected, "{phases:?}, been up: {been_up:?}");
    }

    #[test]
    fn an_active_installation_has_the_first_status_that_applies() {
        use InstallationStatus::{Active, Failed, Installing, PartiallyActive};
        use ServicePhase as P;
        check(&[P::Running], &[], Active);
        check(&[P::Running, P::Completed], &[], Active);
        check(&[P::Completed], &[], Active);
        check(&[P::Pending], &[], Installing);
        check(&[P::Pulling, P::Running], &[1], Installing);
        check(&[P::Starting], &[], Installing);
        check(&[P::Restarting, P::Running], &[], Installing);
        check(&[P::Failed], &[], Failed);
        check(&[P::Failed, P::Pending], &[], Failed);
        check(&[P::Failed, P::Failed], &[0, 1], Failed);
        check(&[P::Failed, P::Running], &[], PartiallyActive);
        check(&[P::Failed, P::Completed], &[1], PartiallyActive);
        // Up once, and something happens to it: no longer installing, not failed either.
        check(&[P::Restarting], &[0], PartiallyActive);
        check(&[P::Absent, P::Running], &[0, 1], PartiallyActive);
        check(&[P::Paused], &[0], PartiallyActive);
        check(&[P::Starting, P::Running], &[0, 1], PartiallyActive);
    }

    #[test]
    fn what_is_not_wanted_is_disabling_until_nothing_is_left() {
        let services = [service("web", ServicePhase::Failed)];
        for desired in [Desired::Disabled, Desired::Absent] {
            for (leftovers, expected) in
                [(true, InstallationStatus::Disabling), (false, InstallationStatus::Disabled)]
            {
                let been_up = BTreeSet::new();
                let facts = Facts {
                    desired,
                    leftovers,
                    rollout: Some(Direction::Forward),
                    been_up: &been_up,
                    services: &services,
                };
                assert_eq!(derive(&facts), expected);
            }
        }
    }

    #[test]
    fn an_open_rollout_comes_before_what_the_services_do() {
        let services = [service("web", ServicePhase::Running)];
        for (rollout, expected) in [
            (Direction::Forward, InstallationStatus::Upgrading),
            (Direction::Back, InstallationStatus::RollingBack),
        ] {
            let been_up = BTreeSet::new();
            let facts = Facts {
                desired: Desired::Active,
                leftovers: true,
                rollout: Some(rollout),
                been_up: &been_up,
                services: &services,
            };
            assert_eq!(derive(&facts), expected);
        }
    }
}
