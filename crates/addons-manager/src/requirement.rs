//! Pure: which other addons an addon needs on its host, and whether they are there.

use addon_descriptor::descriptor::AddonRequirement;
use addon_descriptor::{Version, VersionReq};
use serde::Deserialize;

use crate::domain::installation::{Desired, Installation, InstallationId, folded_name};
use crate::storage::installations::Present;

/// Another addon that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The addon's name.
    pub addon: String,
    /// Versions that do.
    pub range: VersionReq,
}

impl From<&AddonRequirement> for Requirement {
    fn from(requirement: &AddonRequirement) -> Self {
        Self { addon: requirement.name.to_string(), range: requirement.version.clone() }
    }
}

impl Requirement {
    /// Whether an installed addon is what is needed. One without a version is any version only.
    pub fn is_met_by(&self, addon: &str, version: &str) -> bool {
        folded_name(addon) == folded_name(&self.addon)
            && (self.range == VersionReq::STAR
                || Version::parse(version).is_ok_and(|version| self.range.matches(&version)))
    }
}

/// What a stored descriptor requires: the canonical form has only what differs from its default.
pub fn of_canonical(descriptor: &str) -> Vec<Requirement> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        requires: Requires,
    }
    #[derive(Default, Deserialize)]
    struct Requires {
        #[serde(default)]
        addons: Vec<Addon>,
    }
    #[derive(Deserialize)]
    struct Addon {
        name: String,
        #[serde(default)]
        version: Option<String>,
    }
    let Ok(document) = serde_json::from_str::<Document>(descriptor) else { return Vec::new() };
    let requirement = |addon: Addon| Requirement {
        addon: addon.name,
        range: addon.version.and_then(|range| VersionReq::parse(&range).ok()).unwrap_or(VersionReq::STAR),
    };
    document.requires.addons.into_iter().map(requirement).collect()
}

/// The requirements that nothing on the host meets. What is disabled or being removed does not count.
pub fn missing(required: &[Requirement], present: &[Present]) -> Vec<Requirement> {
    let met = |requirement: &Requirement| {
        let active = present.iter().filter(|present| present.desired == Desired::Active);
        active.into_iter().any(|present| requirement.is_met_by(&present.addon, &present.version))
    };
    required.iter().filter(|requirement| !met(requirement)).cloned().collect()
}

/// The installations that need `going` and that no other installation would serve.
pub fn dependents<'a>(going: &Installation, listed: &'a [Installation]) -> Vec<&'a Installation> {
    let others = || listed.iter().filter(|other| other.id != going.id);
    let is_left_without = |requirement: &Requirement, dependent: InstallationId| {
        requirement.is_met_by(&going.addon, &going.version)
            && !others()
                .any(|other| other.id != dependent && requirement.is_met_by(&other.addon, &other.version))
    };
    others()
        .filter(|other| {
            of_canonical(&other.descriptor).iter().any(|requirement| is_left_without(requirement, other.id))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(addon: &str, range: &str) -> Requirement {
        Requirement { addon: addon.to_owned(), range: range.parse().unwrap() }
    }

    fn present(addon: &str, version: &str, desired: Desired) -> Present {
        let id = InstallationId::new(1, [0; 8]);
        Present { id, name: addon.to_owned(), addon: addon.to_owned(), version: version.to_owned(), desired }
    }

    #[test]
    fn an_active_installation_in_the_range_meets_a_requirement() {
        let required = [requirement("broker", "^1.2"), requirement("store", "*")];
        for (what, installed, lacking) in [
            (
                "both",
                vec![present("Broker", "1.3.0", Desired::Active), present("store", "", Desired::Active)],
                0,
            ),
            (
                "out of range",
                vec![present("broker", "2.0.0", Desired::Active), present("store", "0.1.0", Desired::Active)],
                1,
            ),
            (
                "disabled",
                vec![
                    present("broker", "1.2.0", Desired::Disabled),
                    present("store", "0.1.0", Desired::Absent),
                ],
                2,
            ),
            ("nothing", vec![], 2),
        ] {
            assert_eq!(missing(&required, &installed).len(), lacking, "{what}");
        }
    }

    #[test]
    fn a_stored_descriptor_says_what_it_requires() {
        let text =
            r#"{"name":"a","requires":{"addons":[{"name":"broker","version":"^1.2"},{"name":"store"}]}}"#;
        assert_eq!(of_canonical(text), [requirement("broker", "^1.2"), requirement("store", "*")]);
        assert_eq!(of_canonical(r#"{"name":"a"}"#), []);
    }
}
