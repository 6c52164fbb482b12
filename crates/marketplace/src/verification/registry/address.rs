//! Where an image reference leads: which registry, which repository, and where that registry's API is. Pure.

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
