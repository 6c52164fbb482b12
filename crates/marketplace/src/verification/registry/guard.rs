//! Which addresses the registry check may connect to.
//!
//! An image reference is text that a stranger wrote: without this the check could be turned against the network that
//! the marketplace stands in. A name is resolved here, the addresses are judged, and the connection is made to a
//! judged address: nothing resolves the name a second time.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Where connections may go.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard {
    /// Private addresses are allowed: for registries that the configuration names.
    pub(super) private: bool,
    /// Loopback addresses are: for the same, and only while the marketplace itself can be reached from this machine
    /// alone; otherwise a publisher elsewhere could ask after what listens here.
    pub(super) loopback: bool,
    /// The proxy that the configuration names, which may be anywhere.
    pub(super) proxy: Option<String>,
}

/// An address that the check does not connect to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} is at {address}, which is {kind}")]
pub(super) struct Forbidden {
    /// The name or literal that was asked for.
    pub(super) host: String,
    /// The address it has.
    pub(super) address: IpAddr,
    /// What sort of address that is.
    pub(super) kind: Kind,
}

impl Guard {
    /// Judges one address that `host` has.
    ///
    /// # Errors
    /// [`Forbidden`] when it is not on the public internet and of a kind that is not allowed, or one that no registry
    /// can have (multicast, link-local, unspecified).
    pub(super) fn check(&self, host: &str, address: IpAddr) -> Result<(), Forbidden> {
        let Some(kind) = kind(address) else { return Ok(()) };
        let allowed = match kind {
            Kind::Private => self.private,
            Kind::Loopback => self.loopback,
            Kind::Never(_) => false,
        };
        let forbidden = || Forbidden { host: host.to_owned(), address, kind };
        if allowed { Ok(()) } else { Err(forbidden()) }
    }

    /// Judges a host that is written as an address: such a one is never resolved.
    ///
    /// # Errors
    /// As [`Guard::check`].
    pub(super) fn check_literal(&self, host: &str) -> Result<(), Forbidden> {
        match bare(host).parse() {
            Ok(address) => self.check(host, address),
            Err(_) => Ok(()),
        }
    }
}

impl Guard {
    /// Of the addresses that `host` has just now, those that may be connected to.
    fn judge(
        &self,
        host: &str,
        found: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
        let mut refused = None;
        let mut allowed = Vec::with_capacity(found.len());
        for address in found {
            match self.check(host, address.ip()) {
                _ if self.proxy.as_deref() == Some(host) => allowed.push(address),
                Ok(()) => allowed.push(address),
                Err(forbidden) => refused = Some(forbidden),
            }
        }
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some(forbidden)) => Err(forbidden.into()),
            (true, None) => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address").into()),
        }
    }
}

/// Resolves by the machine's own means and keeps the addresses that the rules allow.
impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            Ok(Box::new(guard.judge(&host, found)?.into_iter()) as Addrs)
        })
    }
}

/// `[::1]` and `host.` without what surrounds them.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.')
}

/// If a host is written as an address at which there is never a registry (link-local, multicast, reserved): what sort of
/// address it is, as it reads in a sentence. Naming such a host in the configuration opens nothing.
pub fn never_asked(host: &str) -> Option<&'static str> {
    match kind(bare(host).parse().ok()?) {
        Some(Kind::Never(text)) => Some(text),
        _ => None,
    }
}

/// Addresses that are not on the public internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// This machine.
    Loopback,
    /// A network of someone's own.
    Private,
    /// Nothing that a registry can have; what it is instead.
    Never(&'static str),
}

/// As it reads in a sentence.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Loopback => "a loopback address",
            Self::Private => "an address of a private network",
            Self::Never(text) => text,
        }
    }
}

/// `None` for an address of the public internet (IANA special-purpose address registries, RFC 6890).
fn kind(address: IpAddr) -> Option<Kind> {
    match address {
        IpAddr::V4(v4) => kind_of_v4(v4),
        IpAddr::V6(v6) => kind_of_v6(v6),
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Option<Kind> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, ..) => Some(Kind::Loopback),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some(Kind::Private),
        // Shared address space of carriers (RFC 6598) and of benchmarks (RFC 2544): networks of someone's own.
        (100, 64..=127, _) | (198, 18..=19, _) => Some(Kind::Private),
        (0, ..) => Some(Kind::Never("an unspecified address")),
        (169, 254, _) => Some(Kind::Never("a link-local address")),
        (224..=239, ..) => Some(Kind::Never("a multicast address")),
        (240..=255, ..) => Some(Kind::Never("a reserved address")),
        (192, 0, 0) | (192, 0, 2) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) => {
            Some(Kind::Never("a reserved address"))
        }
        _ => None,
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Option<Kind> {
    if let Some(inner) = embedded_v4(address) {
        // What is reached is the address inside; if that is public, there is no reason to come by this way.
        return Some(kind_of_v4(inner).unwrap_or(Kind::Never("an IPv4 address inside an IPv6 one")));
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Kind::Loopback),
        [0xfc00..=0xfdff, ..] => Some(Kind::Private),
        [0xfe80..=0xfebf, ..] => Some(Kind::Never("a link-local address")),
        [0xfec0..=0xfeff, ..] => Some(Kind::Never("a site-local address")),
        [0xff00..=0xffff, ..] => Some(Kind::Never("a multicast address")),
        // Global unicast is 2000::/3; documentation, Teredo and ORCHID are carved out of it.
        [0x2001, 0x0db8, ..] | [0x2001, 0..=0x01ff, ..] | [0x3fff, 0..=0x0fff, ..] => {
            Some(Kind::Never("a reserved address"))
        }
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Kind::Never("a reserved address")),
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0..=1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INNER: &[&str] = &[
        "127.0.0.1",
        "127.8.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.1",
        "::1",
        "fd00::1",
        "fc00::1",
        "::ffff:10.0.0.1",
        "::10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ];
    const NEVER: &[&str] = &[
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "::ffff:1.1.1.1",
        "::ffff:169.254.169.254",
        "2001:db8::1",
        "100::1",
        "2001::1",
        "4000::1",
    ];

    fn verdict(guard: &Guard, address: &str) -> bool {
        guard.check("registry.example", address.parse().unwrap()).is_ok()
    }

    #[test]
    fn public_addresses_are_for_everyone() {
        let guard = Guard::default();
        for address in ["1.1.1.1", "34.96.0.1", "172.15.0.1", "100.63.0.1", "2606:4700::1", "2a00:1450::5"] {
            assert!(verdict(&guard, address), "{address}");
        }
    }

    #[test]
    fn inner_addresses_are_for_nobody_unasked() {
        let guard = Guard::default();
        for address in INNER.iter().chain(NEVER) {
            assert!(!verdict(&guard, address), "{address}");
        }
    }

    #[test]
    fn a_named_registry_may_be_private_but_never_link_local() {
        let guard = Guard { private: true, loopback: true, proxy: None };
        for address in INNER {
            assert!(verdict(&guard, address), "{address}");
        }
        for address in NEVER {
            assert!(!verdict(&guard, address), "{address}");
        }
    }

    #[test]
    fn loopback_is_apart_from_private() {
        let guard = Guard { private: true, loopback: false, proxy: None };
        assert!(verdict(&guard, "10.1.2.3"));
        assert!(!verdict(&guard, "127.0.0.1"));
        assert!(!verdict(&guard, "::ffff:127.0.0.1"));
    }

    #[test]
    fn a_literal_is_judged_and_a_name_is_left_to_the_resolver() {
        let guard = Guard::default();
        assert_eq!(guard.check_literal("10.0.0.1").unwrap_err().kind, Kind::Private);
        assert!(guard.check_literal("[::1]").is_err());
        assert!(guard.check_literal("8.8.8.8").is_ok());
        assert!(guard.check_literal("registry.example").is_ok());
    }

    #[test]
    fn a_name_that_changes_its_addresses_never_leads_inside() {
        let guard = Guard::default();
        let at = |addresses: &[&str]| -> Vec<SocketAddr> {
            addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 0)).collect()
        };
        // Each connection is made to what was judged for it: outside first, inside and outside at once, inside then.
        assert_eq!(guard.judge("r.example", at(&["1.1.1.1"])).unwrap(), at(&["1.1.1.1"]));
        for inner in INNER.iter().chain(NEVER) {
            let mixed = guard.judge("r.example", at(&[inner, "1.1.1.1", inner])).unwrap();
            assert_eq!(mixed, at(&["1.1.1.1"]), "{inner}");
            let refused = guard.judge("r.example", at(&[inner])).unwrap_err();
            assert!(refused.downcast_ref::<Forbidden>().is_some(), "{inner}: {refused}");
        }
        assert!(guard.judge("r.example", Vec::new()).unwrap_err().to_string().contains("no address"));
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_resolved() {
        let refused = Guard::default().resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert!(refused.downcast_ref::<Forbidden>().is_some(), "{refused}");
        let open = Guard { loopback: true, ..Guard::default() };
        assert!(open.resolve("localhost".parse().unwrap()).await.is_ok());
        let proxy = Guard { proxy: Some("localhost".to_owned()), ..Guard::default() };
        assert!(proxy.resolve("localhost".parse().unwrap()).await.is_ok());
    }
}
