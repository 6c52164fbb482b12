//! What things are called on the engine. The one place where names are made, for `resolve.rs` and the reconciler alike.

use sha2::{Digest as _, Sha256};

/// Longest part of a mount's path in a volume's name; the digest behind it tells longer ones apart. A volume is a folder on the host,
/// whose name has at most 255 bytes.
const MAX_PATH_PART: usize = 100;

/// `<prefix><addon>-<service_name>`: the name of a container.
pub fn container_name(prefix: &str, installation: &str, service: &str) -> String {
    format!("{prefix}{installation}-{service}")
}

/// `<addon>_<name>`: a volume or network that the descriptor declares.
pub fn object_name(installation: &str, key: &str) -> String {
    format!("{installation}_{key}")
}

/// `<prefix><name>`, the prefix never doubled: what Oakestra's components call a service.
pub fn prefixed(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
}

/// `<addon>_<service_name>-<path with - for />-<8 hex of its SHA-256>`: the volume of a mount that is only a path, and of a `VOLUME` of the
/// image that nothing is mounted on. Characters that the engine refuses in names are `-` too.
pub fn path_volume_name(installation: &str, service: &str, target: &str) -> String {
    let path: String = target
        .trim_matches('/')
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() || matches!(character, '.' | '_') { character } else { '-' }
        })
        .take(MAX_PATH_PART)
        .collect();
    let hash = Sha256::digest(target.as_bytes());
    let hex: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{installation}_{service}-{path}-{hex}")
}

/// The Compose project that an installation's objects are grouped under: `platform.project`, else `addon-<installation>` in lower case.
pub fn project_name(platform_project: Option<&str>, installation: &str) -> String {
    match platform_project {
        Some(project) => project.to_owned(),
        None => format!("addon-{}", installation.to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_never_doubled() {
        assert_eq!(prefixed("root_", "scheduler"), "root_scheduler");
        assert_eq!(prefixed("root_", "root_scheduler"), "root_scheduler");
        assert_eq!(prefixed("", "scheduler"), "scheduler");
    }

    #[test]
    fn a_path_volume_says_whose_and_where_and_tells_look_alikes_apart() {
        assert_eq!(path_volume_name("shop", "db", "/var/lib/data"), "shop_db-var-lib-data-94388fea");
        assert_ne!(
            path_volume_name("shop", "db", "/var/lib-data"),
            path_volume_name("shop", "db", "/var/lib/data")
        );
        let long = path_volume_name(&"a".repeat(63), &"s".repeat(63), &format!("/{}", "x/".repeat(200)));
        assert!(long.len() <= 255, "{}", long.len());
        assert!(
            path_volume_name("a", "b", "/säge")
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        );
    }

    #[test]
    fn a_project_is_lower_case() {
        assert_eq!(project_name(None, "Shop"), "addon-shop");
        assert_eq!(project_name(Some("root_orchestrator"), "Shop"), "root_orchestrator");
    }
}
