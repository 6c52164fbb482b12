//! Where an image reference leads: which registry, which repository, and where that registry's API is. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use addon_descriptor::{DEFAULT_REGISTRY, ImageRef};

/// Where Docker Hub's API is; the name in references is that of its web site.
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// One thing in one repository of one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `host[:port]` in lower case, as the configuration names it.
    pub(super) registry: String,
    /// Path of the repository.
    pub(super) repository: String,
    /// Tag or digest.
    pub(super) reference: String,
}

impl Place {
    pub(super) fn of(image: &ImageRef) -> Self {
        Self {
            registry: image.registry().to_ascii_lowercase(),
            repository: image.repository().to_owned(),
            reference: image.reference(),
        }
    }

    /// `registry/path`: whose answers are remembered together.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

/// The key of what is said about a registry, under whichever spelling: the scheme's own port may stand there or not, so
/// that `host` and `host:443` are one, and so are `host` and `host:80` where it is spoken to in plain http.
pub fn find_key<T>(
    registries: &BTreeMap<String, T>,
    registry: &str,
    insecure: impl Fn(&T) -> bool,
) -> Option<String> {
    if registries.contains_key(registry) {
        return Some(registry.to_owned());
    }
    let has_port = registry.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    [("443", false), ("80", true)].into_iter().find_map(|(port, plain)| {
        let other = match registry.strip_suffix(port).and_then(|rest| rest.strip_suffix(':')) {
            Some(host) => host.to_owned(),
            None if has_port => return None,
            None => format!("{registry}:{port}"),
        };
        (insecure(registries.get(&other)?) == plain).then_some(other)
    })
}

/// The `host[:port]` that answers for a registry.
pub(super) fn api_host(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { DOCKER_HUB_API } else { registry }
}

/// Whether `host[:port]` is this machine by its very spelling.
pub fn is_loopback_host(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    let host = host.trim_end_matches('.');
    host.eq_ignore_ascii_case("localhost")
        || host.to_ascii_lowercase().ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hubs_names_lead_to_its_api() {
        let place = Place::of(&"busybox".parse().unwrap());
        assert_eq!(place.registry, "docker.io");
        assert_eq!(api_host(&place.registry), "registry-1.docker.io");
        assert_eq!((place.repository.as_str(), place.reference.as_str()), ("library/busybox", "latest"));
        let own = Place::of(&"Reg.Example:5000/a/b:1".parse().unwrap());
        assert_eq!(api_host(&own.registry), "reg.example:5000");
    }

    #[test]
    fn the_schemes_own_port_may_be_written_or_not() {
        // Which are spoken to in plain http.
        let registries = BTreeMap::from(
            [
                ("a", false),
                ("b:443", false),
                ("c", true),
                ("d:80", true),
                ("e", false),
                ("e:80", true),
                ("[::1]", true),
            ]
            .map(|(host, insecure)| (host.to_owned(), insecure)),
        );
        for (asked, expected) in [
            ("a", Some("a")),
            ("a:443", Some("a")),
            ("a:80", None),
            ("a:5000", None),
            ("b", Some("b:443")),
            ("b:443", Some("b:443")),
            ("c:80", Some("c")),
            ("c:443", None),
            ("d", Some("d:80")),
            ("e", Some("e")),
            ("e:80", Some("e:80")),
            ("e:443", Some("e")),
            ("[::1]:80", Some("[::1]")),
            ("[::80]", None),
            ("x", None),
        ] {
            assert_eq!(find_key(&registries, asked, |plain| *plain).as_deref(), expected, "{asked}");
        }
    }

    #[test]
    fn this_machine_has_several_spellings() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:5000", true),
            ("a.localhost", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("registry:5000", false),
            ("10.0.0.1", false),
            ("notlocalhost", false),
        ] {
            assert_eq!(is_loopback_host(host), expected, "{host}");
        }
    }
}
