//! Pure: which volumes of a lost database are those of one installation, and only those.
//!
//! The rows that proved whose a volume is are gone; what is left are labels and names. An installation's id in a label tells volumes of one
//! installation from those of another, and not what that one was called. Its name is worked out from everything that carries the id, and where
//! more than one name fits, or more than one id, nobody is given the data of another: that is refused.

use std::collections::{BTreeMap, BTreeSet};

use addon_client::Timestamp;

use super::{Conflict, Holder, World, is_made_so, left, of_installation};
use crate::domain::claim::Claim;
use crate::domain::installation::{KeptVolume, VolumeOrigin};
use crate::domain::naming::project_name;
use crate::domain::specification::{RevisionSpecification, VolumeSpecification};
use crate::reconciler::state::NONCE_LABEL;
use crate::runtime::{ListedVolume, Listing};

/// What a Compose project begins with that is an installation's own.
const OWN_PROJECT: &str = "addon-";

/// What is given back, and what is in the way.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The installation that made what is given back, by its label.
    pub(super) installation: String,
    pub(super) taken_back: Vec<KeptVolume>,
    pub(super) conflicts: Vec<Conflict>,
}

/// Volumes that no row knows and that were made for this addon under this name. Labels can be copied, so they come back only to a person who
/// asks for what was kept.
pub(super) fn volumes(addon: &str, name: &str, revision: &RevisionSpecification, world: World<'_>) -> Found {
    let mut of_id: BTreeMap<&str, Vec<&ListedVolume>> = BTreeMap::new();
    for listed in world.listing.volumes.iter().filter(|listed| is_left(listed, addon, world)) {
        of_id.entry(installation_of(&listed.labels)).or_default().push(listed);
    }
    let called: BTreeMap<&str, BTreeSet<String>> = of_id
        .iter()
        .map(|(id, volumes)| (*id, possible_names(id, volumes, name, revision, world.listing)))
        .collect();
    let could_be: Vec<&str> =
        called.iter().filter(|(_, names)| names.contains(name)).map(|(id, _)| *id).collect();
    let certain = match could_be.as_slice() {
        [id] if called[id].len() == 1 => Some(*id),
        _ => None,
    };
    let prefix = format!("{name}_");
    let mut found = Found { installation: certain.unwrap_or_default().to_owned(), ..Found::default() };
    for (id, volumes) in &of_id {
        for listed in volumes.iter().filter(|listed| listed.name.starts_with(&prefix)) {
            let wanted = revision.volumes.get(&listed.name);
            let holder = if certain == Some(*id) {
                if let Some(container) = user(listed, id, revision, world.listing) {
                    Some(Holder::LeftInUse { container })
                } else if wanted.is_some_and(|wanted| !is_made_so(listed, wanted)) {
                    Some(Holder::LeftDiffers { installation: (*id).to_owned() })
                } else {
                    None
                }
            } else if could_be.contains(id) {
                let others = could_be.iter().filter(|other| *other != id).map(|id| (*id).to_owned());
                Some(Holder::LeftUnclear {
                    installation: (*id).to_owned(),
                    asked: name.to_owned(),
                    others: others.collect(),
                })
            } else if wanted.is_some() {
                let mut names = called[id].iter();
                let known_as = names.next().filter(|_| names.next().is_none()).cloned();
                Some(Holder::LeftByAnother {
                    installation: (*id).to_owned(),
                    asked: name.to_owned(),
                    known_as,
                })
            } else {
                continue;
            };
            match holder {
                Some(holder) => {
                    found.conflicts.push(Conflict { wanted: Claim::Volume(listed.name.clone()), holder });
                }
                None => found.taken_back.push(given_back(listed, addon, name, wanted)),
            }
        }
    }
    found
}

fn installation_of(labels: &BTreeMap<String, String>) -> &str {
    labels.get("oak.installation.id").map_or("", String::as_str)
}

/// Whether it carries the labels of an installation of this addon, and nothing that is known has it.
fn is_left(listed: &ListedVolume, addon: &str, world: World<'_>) -> bool {
    listed.labels.get("oak.addon").is_some_and(|of| of == addon)
        && of_installation(&Claim::Volume(listed.name.clone()), world.occupied).is_none()
        && world.occupied.kept.iter().all(|kept| kept.name != listed.name)
        && matches!(
            left("volume", &listed.name, &listed.name, &listed.labels, world.occupied),
            Some(Holder::Left { known_as: None, .. })
        )
}

/// What the installation of that id can have been called, by all that carries its id. Names hold `_` as well as what follows them does:
/// `wiki_team_data` is `data` of `wiki_team`, or `team_data` of `wiki`.
fn possible_names(
    id: &str,
    volumes: &[&ListedVolume],
    name: &str,
    revision: &RevisionSpecification,
    listing: &Listing,
) -> BTreeSet<String> {
    let own_project = project_name(None, name);
    let mut names: Option<BTreeSet<String>> = None;
    for listed in volumes {
        let read = names_in(&listed.name, name, revision);
        names = match names {
            // One that this release does not have tells nothing.
            names if read.is_empty() => names,
            Some(names) => Some(names.intersection(&read).cloned().collect()),
            None => Some(read),
        };
    }
    let projects: BTreeSet<&String> = volumes
        .iter()
        .filter_map(|listed| listed.labels.get("com.docker.compose.project"))
        .filter(|project| project.starts_with(OWN_PROJECT))
        .collect();
    let mut names = match names {
        Some(names) => names,
        None if projects.contains(&own_project) => BTreeSet::from([name.to_owned()]),
        None => BTreeSet::new(),
    };
    for project in projects {
        names.retain(|name| project_name(None, name) == *project);
    }
    for container in &listing.containers {
        let service = container.labels.get("oak.service.name");
        if installation_of(&container.labels) == id
            && let Some(stem) =
                service.and_then(|service| container.name.strip_suffix(service.as_str())?.strip_suffix('-'))
        {
            names.retain(|name| stem.ends_with(name.as_str()));
        }
    }
    names
}

/// The names of installations that would call a volume so, as far as this release tells.
fn names_in(volume: &str, name: &str, revision: &RevisionSpecification) -> BTreeSet<String> {
    let prefix = format!("{name}_");
    let tails = revision.volumes.keys().filter_map(|wanted| wanted.strip_prefix(&prefix));
    let mut names: BTreeSet<String> =
        tails.filter_map(|tail| volume.strip_suffix(tail)?.strip_suffix('_')).map(str::to_owned).collect();
    // Those of the images' `VOLUME`s are known when the image is there: `<name>_<service>-<path>-<8 hex>`.
    let digest = volume.rsplit_once('-').map_or("", |(_, digest)| digest);
    if digest.len() == 8 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        for service in revision.services.keys() {
            let between = format!("_{service}-");
            names.extend(volume.match_indices(&between).map(|(at, _)| volume[..at].to_owned()));
        }
    }
    names.remove("");
    names
}

/// A container that uses it and is not in the way by its own name already.
fn user(
    listed: &ListedVolume,
    id: &str,
    revision: &RevisionSpecification,
    listing: &Listing,
) -> Option<String> {
    let is_named = |name: &str| revision.services.values().any(|service| service.container_name == name);
    let mut users = listing.containers.iter().filter(|container| {
        container.mounts.iter().any(|mount| mount.volume.as_deref() == Some(listed.name.as_str()))
            && !(installation_of(&container.labels) == id && is_named(&container.name))
    });
    users.next().map(|container| container.name.clone())
}

fn given_back(
    listed: &ListedVolume,
    addon: &str,
    name: &str,
    wanted: Option<&VolumeSpecification>,
) -> KeptVolume {
    let origin = match wanted {
        Some(VolumeSpecification { key: Some(_), .. }) => VolumeOrigin::Declared,
        Some(_) => VolumeOrigin::Anonymous,
        None => VolumeOrigin::Image,
    };
    let specification = wanted.cloned().unwrap_or_else(|| VolumeSpecification {
        key: None,
        driver: listed.driver.clone(),
        driver_opts: listed.options.clone(),
        labels: BTreeMap::new(),
    });
    KeptVolume {
        name: listed.name.clone(),
        nonce: listed.labels.get(NONCE_LABEL).cloned().unwrap_or_default(),
        addon: addon.to_owned(),
        installation_name: name.to_owned(),
        origin,
        service: String::new(),
        specification,
        kept_at: Timestamp::from_millis(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{ListedContainer, ListedMount};
    use crate::storage::installations::Occupied;

    const FIRST: &str = "6b00fc9223516c5e37bee27a";
    const SECOND: &str = "6b00fc9223516c5e37bee27b";

    fn labels(id: &str, project: &str) -> BTreeMap<String, String> {
        [
            ("oak.create", "nonce"),
            ("oak.addon", "wiki"),
            ("oak.installation.id", id),
            ("com.docker.compose.project", project),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// `platform` is the project of everything; without it each installation has its own.
    fn volume(name: &str, id: &str, of: &str, platform: Option<&str>) -> ListedVolume {
        ListedVolume {
            name: name.to_owned(),
            driver: "local".to_owned(),
            labels: labels(id, &project_name(platform, of)),
            ..ListedVolume::default()
        }
    }

    fn container(name: &str, id: &str, service: &str, mounts: &str) -> ListedContainer {
        let mut labels = labels(id, "");
        labels.insert("oak.service.name".to_owned(), service.to_owned());
        ListedContainer {
            name: name.to_owned(),
            labels,
            mounts: vec![ListedMount {
                target: "/d".to_owned(),
                volume: Some(mounts.to_owned()),
                host_path: None,
                read_only: false,
            }],
            ..ListedContainer::default()
        }
    }

    /// What addon `wiki` wants that declares volumes of these keys, with one service `db`.
    fn revision(name: &str, keys: &[&str]) -> RevisionSpecification {
        let volume = |key: &&str| {
            let specification = VolumeSpecification {
                key: Some((*key).to_owned()),
                driver: "local".to_owned(),
                driver_opts: BTreeMap::new(),
                labels: BTreeMap::new(),
            };
            (format!("{name}_{key}"), specification)
        };
        let db = crate::reconciler::tests::bench::service(name, "db");
        RevisionSpecification {
            services: [("db".to_owned(), db)].into(),
            networks: BTreeMap::new(),
            volumes: keys.iter().map(volume).collect(),
            shared_networks: BTreeMap::new(),
            external_volumes: Vec::new(),
        }
    }

    /// Names of volumes that `name` takes back, and what is said about the others.
    fn ask(
        name: &str,
        keys: &[&str],
        volumes_there: Vec<ListedVolume>,
        containers: Vec<ListedContainer>,
    ) -> (Vec<String>, Vec<String>) {
        let listing = Listing { volumes: volumes_there, containers, ..Listing::default() };
        let occupied = Occupied { claims: Vec::new(), kept: Vec::new(), installations: Vec::new() };
        let world =
            World { occupied: &occupied, listing: &listing, aliases: &BTreeMap::new(), listeners: &[] };
        let found = volumes("wiki", name, &revision(name, keys), world);
        (
            found.taken_back.into_iter().map(|volume| volume.name).collect(),
            found.conflicts.iter().map(Conflict::message).collect(),
        )
    }

    /// Of `wiki` and of `wiki_team`.
    fn of_both(platform: Option<&str>) -> Vec<ListedVolume> {
        vec![
            volume("wiki_data", FIRST, "wiki", platform),
            volume("wiki_db-var-lib-01234567", FIRST, "wiki", platform),
            volume("wiki_older", FIRST, "wiki", platform),
            volume("wiki_team_data", SECOND, "wiki_team", platform),
            volume("wiki_team_db-var-lib-01234567", SECOND, "wiki_team", platform),
            volume("wiki_team_older", SECOND, "wiki_team", platform),
        ]
    }

    #[test]
    fn each_of_two_installations_gets_its_own_and_none_of_the_other() {
        for platform in [None, Some("root_orchestrator")] {
            for team_runs in [true, false] {
                let containers = || match team_runs {
                    true => vec![container("wiki_team-db", SECOND, "db", "wiki_team_data")],
                    false => Vec::new(),
                };
                let (taken, refused) = ask("wiki", &["data"], of_both(platform), containers());
                assert_eq!(taken, ["wiki_data", "wiki_db-var-lib-01234567", "wiki_older"], "{platform:?}");
                assert_eq!(refused, [""; 0]);
            }
            let (taken, refused) = ask("wiki_team", &["data"], of_both(platform), Vec::new());
            assert_eq!(taken, ["wiki_team_data", "wiki_team_db-var-lib-01234567", "wiki_team_older"]);
            assert_eq!(refused, [""; 0]);
        }
    }

    #[test]
    fn without_anything_of_its_own_it_gets_nothing() {
        for platform in [None, Some("root_orchestrator")] {
            let there = of_both(platform).split_off(3);
            assert_eq!(ask("wiki", &["data"], there, Vec::new()), (Vec::new(), Vec::new()));
        }
    }

    #[test]
    fn one_of_a_wanted_name_that_another_has_made_is_refused() {
        // The addon has both: each name can be either's.
        let (taken, refused) = ask("wiki", &["data", "team_data"], of_both(None), Vec::new());
        assert_eq!(taken, ["wiki_data", "wiki_db-var-lib-01234567", "wiki_older"]);
        assert_eq!(refused.len(), 1, "{refused:?}");
        for part in ["`wiki_team_data`", "`wiki_team`", SECOND, "another name"] {
            assert!(refused[0].contains(part), "{part} in {refused:?}");
        }
    }

    #[test]
    fn where_it_cannot_be_told_nothing_is_given() {
        let there = |first: &str| {
            let platform = Some("root_orchestrator");
            vec![volume("wiki_data", first, "", platform), volume("wiki_team_data", SECOND, "", platform)]
        };
        let (taken, refused) = ask("wiki", &["data", "team_data"], there(FIRST), Vec::new());
        assert_eq!(taken, [""; 0]);
        assert_eq!(refused.len(), 2, "{refused:?}");
        for (refused, parts) in
            refused.iter().zip([["`wiki_data`", FIRST, SECOND], ["`wiki_team_data`", SECOND, FIRST]])
        {
            for part in parts.iter().chain(&["backup", "docker volume rm", "another name"]) {
                assert!(refused.contains(part), "{part} in {refused}");
            }
        }
        // One alone that can be of either name.
        let (taken, refused) = ask("wiki", &["data", "team_data"], there(FIRST).split_off(1), Vec::new());
        assert_eq!((taken.len(), refused.len()), (0, 1), "{refused:?}");
        // A container that is still there tells.
        let db = || vec![container("root_wiki_team-db", SECOND, "db", "wiki_team_data")];
        let (taken, refused) = ask("wiki", &["data", "team_data"], there(FIRST), db());
        assert_eq!((taken, refused.len()), (vec!["wiki_data".to_owned()], 1), "{refused:?}");
        let (taken, _) = ask("wiki", &["data", "team_data"], there(SECOND), Vec::new());
        assert_eq!(taken, ["wiki_data", "wiki_team_data"], "one id, and only `wiki` has both");
        // Two that were installed as `wiki`, one after the other.
        let twice = vec![volume("wiki_data", FIRST, "wiki", None), volume("wiki_logs", SECOND, "wiki", None)];
        let (taken, refused) = ask("wiki", &["data", "logs"], twice, Vec::new());
        assert_eq!((taken.len(), refused.len()), (0, 2), "{refused:?}");
    }

    #[test]
    fn what_a_container_of_something_else_uses_is_refused() {
        let there = || vec![volume("wiki_data", FIRST, "wiki", None)];
        for (user, id) in [("backup", ""), ("wiki-old", FIRST), ("wiki-db", SECOND)] {
            let (taken, refused) =
                ask("wiki", &["data"], there(), vec![container(user, id, "db", "wiki_data")]);
            assert_eq!(taken, [""; 0], "{user}");
            assert!(refused[0].contains(&format!("`{user}`")), "{refused:?}");
        }
        // Its own is in the way by its name, and said so there.
        let own = container("wiki-db", FIRST, "db", "wiki_data");
        assert_eq!(ask("wiki", &["data"], there(), vec![own]), (vec!["wiki_data".to_owned()], Vec::new()));
    }
}
