//! Whether a network or volume that exists is what is asked for.

use std::collections::BTreeSet;

use crate::domain::specification::{NetworkSpecification, VolumeSpecification};
use crate::runtime::{ListedNetwork, ListedVolume};

/// How a network that exists differs from what is asked for, in words; none: it is equal.
pub fn network_difference(asked: &NetworkSpecification, listed: &ListedNetwork) -> Option<String> {
    if asked.driver != listed.driver {
        return Some(format!("its driver is {}, not {}", listed.driver, asked.driver));
    }
    if asked.internal != listed.internal {
        return Some(format!("it is {}internal", if listed.internal { "" } else { "not " }));
    }
    if asked.enable_ipv6 && !listed.enable_ipv6 {
        return Some("it has no IPv6".to_owned());
    }
    let missing = asked.subnets.iter().find(|subnet| !listed.subnets.contains(subnet));
    if let Some(subnet) = missing {
        return Some(format!("it has no subnet {subnet}"));
    }
    let other = asked.driver_opts.iter().find(|(key, value)| listed.options.get(*key) != Some(value));
    other.map(|(key, value)| format!("its option {key} is not {value}"))
}

/// How a volume that exists differs from what is asked for, in words; none: it is equal.
pub fn volume_difference(asked: &VolumeSpecification, listed: &ListedVolume) -> Option<String> {
    if asked.driver != listed.driver {
        return Some(format!("its driver is {}, not {}", listed.driver, asked.driver));
    }
    let keys: BTreeSet<&String> = asked.driver_opts.keys().chain(listed.options.keys()).collect();
    let other = keys.into_iter().find(|key| asked.driver_opts.get(*key) != listed.options.get(*key));
    other.map(|key| format!("its option {key} is not what was asked for"))
}
