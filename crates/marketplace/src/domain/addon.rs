//! What holds for all releases of one addon: which version comes next, and which of them is the newest.

use addon_descriptor::{Version, VersionReq};

/// The version of a release that was posted without one: `highest` is the highest that this addon ever had, deleted ones
/// included.
///
/// The next patch level; the release that a pre-release led up to; `0.1.0` where there is nothing yet. `None` when
/// there is no number left.
pub fn next_version(highest: Option<&Version>) -> Option<Version> {
    let Some(highest) = highest else { return Some(Version::new(0, 1, 0)) };
    if highest.pre.is_empty() {
        let patch = highest.patch.checked_add(1)?;
        Some(Version::new(highest.major, highest.minor, patch))
    } else {
        Some(Version::new(highest.major, highest.minor, highest.patch))
    }
}

/// The version without build metadata: two versions that differ in nothing else are one.
pub fn identity(version: &Version) -> Version {
    Version { build: semver::BuildMetadata::EMPTY, ..version.clone() }
}

/// Which of an addon's versions a range means. `versions` are newest first, pre-releases after the releases.
///
/// A pre-release is meant only where the range names one of its level, or where the addon has nothing else: then by
/// the release that it leads up to.
pub fn resolve(range: &VersionReq, versions: &[Version]) -> Option<usize> {
    let exact = versions.iter().position(|version| range.matches(version));
    if exact.is_some() || versions.iter().any(|version| version.pre.is_empty()) {
        return exact;
    }
    let leads_to = |version: &Version| Version::new(version.major, version.minor, version.patch);
    versions.iter().position(|version| range.matches(&leads_to(version)))
}

/// A text whose byte order is the precedence of SemVer 2.0 (section 11), so that a database can sort by it.
///
/// Numbers are padded to the 20 digits that a `u64` can have. A release ends in `~`, which is above everything that a
/// pre-release can continue with. Identifiers end in `!`, which is below everything that an identifier may hold;
/// numeric ones (of any length) begin with `1` and their number of digits, others with `2`.
pub fn order_key(version: &Version) -> String {
    let mut key = format!("{:020}.{:020}.{:020}", version.major, version.minor, version.patch);
    if version.pre.is_empty() {
        key.push('~');
        return key;
    }
    key.push('-');
    for identifier in version.pre.split('.') {
        if identifier.bytes().all(|byte| byte.is_ascii_digit()) {
            key.push_str(&format!("1{:04}{identifier}!", identifier.len()));
        } else {
            key.push_str(&format!("2{identifier}!"));
        }
    }
    key
}

/// As [`order_key`], with every pre-release below every release: the order of what is shown, where a pre-release comes
/// only where there is nothing else.
pub fn rank_key(version: &Version) -> String {
    let stable = if version.pre.is_empty() { '1' } else { '0' };
    format!("{stable}{}", order_key(version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_version_follows_the_highest() {
        for (highest, next) in [
            ("1.2.3", "1.2.4"),
            ("1.3.0-rc.1", "1.3.0"),
            ("0.0.0", "0.0.1"),
            ("1.2.3+build", "1.2.4"),
            ("2.0.0-alpha+x", "2.0.0"),
        ] {
            assert_eq!(next_version(Some(&version(highest))), Some(version(next)), "{highest}");
        }
        assert_eq!(next_version(None), Some(version("0.1.0")));
        assert_eq!(next_version(Some(&Version::new(1, 0, u64::MAX))), None);
    }

    #[test]
    fn the_example_of_the_semver_specification_is_in_order() {
        let ordered = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1-0",
            "1.0.1",
            "1.1.0",
            "10.0.0",
        ];
        for pair in ordered.windows(2) {
            assert!(order_key(&version(pair[0])) < order_key(&version(pair[1])), "{pair:?}");
        }
    }

    #[test]
    fn a_pre_release_ranks_below_every_release() {
        assert!(rank_key(&version("9.0.0-rc.1")) < rank_key(&version("0.1.0")));
        assert!(rank_key(&version("1.0.0")) < rank_key(&version("1.0.1")));
        assert!(rank_key(&version("1.0.0-a")) < rank_key(&version("1.0.0-b")));
    }

    #[test]
    fn build_metadata_does_not_tell_versions_apart() {
        assert_eq!(identity(&version("1.0.0-a+b")), version("1.0.0-a"));
        assert_eq!(order_key(&version("1.0.0+a")), order_key(&version("1.0.0+b")));
    }

    #[test]
    fn a_range_means_the_newest_that_fits() {
        for (range, versions, expected) in [
            ("*", &["2.0.0", "1.1.0", "3.0.0-rc.1"][..], Some("2.0.0")),
            ("^1", &["2.0.0", "1.1.0", "1.0.0"], Some("1.1.0")),
            ("^4", &["2.0.0"], None),
            ("*", &["3.0.0-rc.2", "3.0.0-rc.1"], Some("3.0.0-rc.2")),
            ("^3", &["3.0.0-rc.2"], Some("3.0.0-rc.2")),
            ("^2", &["3.0.0-rc.2"], None),
            ("^3.0.0-rc.1", &["2.0.0", "3.0.0-rc.2"], Some("3.0.0-rc.2")),
            ("^3", &["2.0.0", "3.0.0-rc.2"], None),
            ("*", &[], None),
        ] {
            let versions: Vec<Version> = versions.iter().map(|text| version(text)).collect();
            let found = resolve(&range.parse().unwrap(), &versions).map(|at| versions[at].to_string());
            assert_eq!(found.as_deref(), expected, "{range} {versions:?}");
        }
    }

    proptest! {
        #[test]
        fn the_keys_order_is_semvers(
            a in r"[0-3]\.[0-3]\.(0|[1-9][0-9]{0,11})(-(0|[1-9][0-9]{0,3}|[a-c-]{1,3})(\.(0|[1-9]|[a-cA-C-]{1,2})){0,3})?",
            b in r"[0-3]\.[0-3]\.(0|[1-9][0-9]{0,11})(-(0|[1-9][0-9]{0,3}|[a-c-]{1,3})(\.(0|[1-9]|[a-cA-C-]{1,2})){0,3})?",
        ) {
            let (a, b) = (version(&a), version(&b));
            prop_assert_eq!(order_key(&a).cmp(&order_key(&b)), a.cmp(&b));
        }
    }
}
