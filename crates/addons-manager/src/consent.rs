//! Pure: which rights of an addon are granted by a request, and which are missing. Rights are derived from the descriptor, never declared.

use std::collections::BTreeSet;

use addon_descriptor::{Level, Right};

/// Rights that must be named and are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// As the request has to name them.
    pub rights: Vec<String>,
}

/// The rights that are granted: normal ones by installing; takeovers and dangerous ones only by name.
///
/// # Errors
/// [`Missing`] with everything that has to be named beside what is.
pub fn grant(asked_for: &BTreeSet<Right>, named: &[String]) -> Result<BTreeSet<String>, Missing> {
    let missing: Vec<String> = asked_for
        .iter()
        .filter(|right| right.level() != Level::Normal && !named.iter().any(|name| name == right.as_str()))
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        Ok(asked_for.iter().map(ToString::to_string).collect())
    } else {
        Err(Missing { rights: missing })
    }
}

/// Whether who installs needs the scope `consent`: something is granted that reaches beyond the addon's own containers.
pub fn needs_consent_scope(asked_for: &BTreeSet<Right>) -> bool {
    asked_for.iter().any(|right| right.level() == Level::Dangerous)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(texts: &[&str]) -> BTreeSet<Right> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn named(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn normal_rights_are_granted_by_installing() {
        let asked = rights(&["host-port:8080/tcp", "platform-network"]);
        assert_eq!(
            grant(&asked, &[]),
            Ok(["host-port:8080/tcp".to_owned(), "platform-network".to_owned()].into())
        );
        assert!(!needs_consent_scope(&asked));
    }

    #[test]
    fn dangerous_rights_are_granted_only_by_name() {
        let asked = rights(&["docker-socket", "host-network", "host-port:80/tcp"]);
        let missing = grant(&asked, &named(&["host-network"])).unwrap_err();
        assert_eq!(missing.rights, ["docker-socket"]);
        assert!(needs_consent_scope(&asked));
        assert_eq!(grant(&asked, &named(&["host-network", "docker-socket"])).unwrap().len(), 3);
    }

    #[test]
    fn a_right_is_named_exactly() {
        let asked = rights(&["host-path:/srv:rw"]);
        assert!(grant(&asked, &named(&["host-path:/srv:ro", "host-path:/srv", "*"])).is_err());
    }

    #[test]
    fn naming_what_is_not_asked_for_grants_nothing_more() {
        assert_eq!(
            grant(&rights(&["platform-network"]), &named(&["privileged"])),
            Ok(["platform-network".to_owned()].into())
        );
    }
}
