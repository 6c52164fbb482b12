//! Which of the names that there are was probably meant by one that there is not.
//!
//! A suggestion is taken over without much thought, so none says the opposite of what was written.

use addon_descriptor::are_opposite;

/// Words of one meaning; which of them a caller knows is the one to suggest.
const ALIKE: [&[&str]; 6] = [
    &ON,
    &OFF,
    &["account", "name", "user", "username", "login"],
    &["marketplace_id", "release", "release_id", "id"],
    &["rights", "permissions", "privileges", "consent", "grants"],
    &["expires_at", "expires_in_days", "expires_in", "expires", "expiry", "expiration", "valid_until", "ttl"],
];
const ON: [&str; 10] =
    ["active", "enabled", "enable", "activate", "on", "running", "run", "started", "start", "up"];
const OFF: [&str; 10] =
    ["disabled", "disable", "deactivate", "off", "stopped", "stop", "down", "inactive", "paused", "pause"];

/// The name that is meant by `name`: another word for the same, or the one that is nearest, where one is near enough.
/// Never one that means the opposite.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let known: Vec<&str> = known.filter(|known| !mean_opposites(&name, known)).collect();
    let alike = ALIKE.iter().filter(|words| words.contains(&name.as_str()));
    if let Some(same) =
        alike.flat_map(|words| words.iter()).find_map(|word| known.iter().find(|at| *at == word))
    {
        return Some(same);
    }
    let near = |known: &&str| {
        let stem = name.trim_end_matches('s');
        let slips = strsim::damerau_levenshtein(&name, known);
        slips * 3 <= name.len().max(known.len()) || (stem.len() >= 4 && known.starts_with(stem))
    };
    let rated = known.into_iter().filter(near).map(|known| (strsim::jaro_winkler(&name, known), known));
    rated.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

fn mean_opposites(one: &str, other: &str) -> bool {
    let (on, off) = (|word: &str| ON.contains(&word), |word: &str| OFF.contains(&word));
    are_opposite(one, other) || (on(one) && off(other)) || (off(one) && on(other))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn what_was_meant_is_suggested_and_never_its_opposite() {
        let statuses = &["active", "disabled"][..];
        let settings = &["insecure", "max_bytes", "disabled"][..];
        let token = &["account", "scopes", "name_pattern", "expires_at"][..];
        for (name, known, expected) in [
            ("enabled", statuses, Some("active")),
            ("enable", statuses, Some("active")),
            ("on", statuses, Some("active")),
            ("Running", statuses, Some("active")),
            ("start", statuses, Some("active")),
            ("activ", statuses, Some("active")),
            ("stopped", statuses, Some("disabled")),
            ("off", statuses, Some("disabled")),
            ("disable", statuses, Some("disabled")),
            ("inactive", statuses, Some("disabled")),
            ("disbaled", statuses, Some("disabled")),
            ("paused", statuses, Some("disabled")),
            ("installing", statuses, None),
            ("failed", statuses, None),
            ("installed", statuses, None),
            ("uninstalled", statuses, None),
            ("status_details", &["status", "parameters"], None),
            ("secure", settings, None),
            ("min_bytes", settings, None),
            ("enabled", settings, None),
            ("max_byte", settings, Some("max_bytes")),
            ("name", token, Some("account")),
            ("names", token, Some("name_pattern")),
            ("scope", token, Some("scopes")),
            ("expires_in_days", token, Some("expires_at")),
            ("ttl", token, Some("expires_at")),
            ("comand", &["command", "depends_on"], Some("command")),
        ] {
            assert_eq!(nearest(name, known.iter().copied()), expected, "{name} of {known:?}");
        }
    }
}
