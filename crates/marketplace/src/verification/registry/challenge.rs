//! How a registry asks to be logged in to (RFC 9110, 11.6; the distribution project's token specification), and where
//! that may lead. Pure: no request is made here.

use url::{Host, Url};

/// What a registry wants to see before it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token, to be fetched at the realm.
    Bearer(Bearer),
    /// User and password, sent to the registry itself.
    Basic,
}

/// Where a token is to be had, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    /// The token service's address.
    pub(super) realm: Url,
    /// Whom the token is for, in the token service's words.
    pub(super) service: Option<String>,
    /// What it is to allow.
    pub(super) scope: Option<String>,
}

impl Challenge {
    /// The first challenge that can be met, of the values of all `WWW-Authenticate` headers; a token rather than a
    /// password.
    pub(super) fn read<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let offers: Vec<(String, Vec<(String, String)>)> = headers.into_iter().flat_map(split).collect();
        let bearer = offers.iter().find_map(|(scheme, parameters)| {
            let find =
                |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            let realm = Url::parse(&find("realm")?).ok()?;
            (scheme == "bearer").then(|| Bearer { realm, service: find("service"), scope: find("scope") })
        });
        let basic = || offers.iter().any(|(scheme, _)| scheme == "basic").then_some(Self::Basic);
        bearer.map(Self::Bearer).or_else(basic)
    }
}

impl Bearer {
    /// Whether a token may be fetched at this realm for a registry at `registry`.
    ///
    /// Without credentials any public host will do: there is nothing to lose. Credentials go to the registry's own site
    /// only, on whichever port: a registry and its token service often stand beside each other on one host. Plain http is for the same host, and only where the registry itself is spoken to that way.
    ///
    /// # Errors
    /// The reason, as a sentence.
    pub(super) fn check_realm(&self, registry: &Url, with_credentials: bool) -> Result<(), String> {
        let realm = &self.realm;
        let (from, to) = (registry.host_str().unwrap_or_default(), realm.host_str().unwrap_or_default());
        if !realm.username().is_empty() || realm.password().is_some() || to.is_empty() {
            return Err(format!("{from} sends to log in at an address that cannot be used: {realm}"));
        }
        match realm.scheme() {
            "https" if !with_credentials || same_site(registry, realm) => Ok(()),
            "https" => {
                Err(format!("{from} sends to log in at {to}, which is another site: credentials stay here"))
            }
            "http" if registry.scheme() == "http" && registry.host() == realm.host() => Ok(()),
            _ => Err(format!("{from} sends to log in at {realm}, which is not https")),
        }
    }

    /// The scope to ask for: what the registry named if that is reading, else reading `repository`.
    pub(super) fn scope_for(&self, repository: &str) -> String {
        match &self.scope {
            Some(scope)
                if scope.starts_with("repository:") && scope.ends_with(":pull") && !scope.contains(' ') =>
            {
                scope.clone()
            }
            _ => format!("repository:{repository}:pull"),
        }
    }
}

/// The same host, or two names below one registrable domain (`registry-1.docker.io`, `auth.docker.io`).
fn same_site(one: &Url, other: &Url) -> bool {
    match (one.host(), other.host()) {
        (Some(Host::Domain(one)), Some(Host::Domain(other))) => {
            one == other || site(one).is_some_and(|domain| Some(domain) == site(other))
        }
        (one, other) => one.is_some() && one == other,
    }
}

/// The last two labels of a name, three below a country's `co`, `com` and the like. Too long is safe: fewer hosts are
/// then taken for one site.
fn site(host: &str) -> Option<&str> {
    let dots: Vec<usize> = host.match_indices('.').map(|(at, _)| at).collect();
    let mut labels = host.rsplit('.');
    let (top, second) = (labels.next()?, labels.next()?);
    let wanted = if top.len() == 2 && second.len() <= 3 { 3 } else { 2 };
    match dots.len() + 1 {
        count if count < wanted => None,
        count if count == wanted => Some(host),
        count => Some(&host[dots[count - wanted - 1] + 1..]),
    }
}

/// `Scheme key="value", key=value, Scheme …` as (scheme, parameters), names in lower case.
fn split(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut offers: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',', '=']).unwrap_or(rest.len());
        let word = rest[..end].to_ascii_lowercase();
        rest = &rest[end..];
        if let Some(after) = rest.strip_prefix('=') {
            let (value, after) = value(after);
            if let Some((_, parameters)) = offers.last_mut() {
                parameters.push((word, value));
            }
            rest = after;
        } else if !word.is_empty() {
            offers.push((word, Vec::new()));
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    offers
}

/// A quoted string or a token, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &quoted[at + 1..]),
            c => {
                value.push(c);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str) -> Bearer {
        Bearer { realm: realm.parse().unwrap(), service: None, scope: None }
    }

    #[test]
    fn docker_hub_asks_like_this() {
        let header = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull""#;
        let Some(Challenge::Bearer(found)) = Challenge::read([header]) else { panic!("no challenge") };
        assert_eq!(found.realm.as_str(), "https://auth.docker.io/token");
        assert_eq!(found.service.as_deref(), Some("registry.docker.io"));
        assert_eq!(found.scope_for("other"), "repository:library/busybox:pull");
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let both = r#"Basic realm="a, b=c", Bearer realm="https://r.example/t""#;
        assert!(matches!(Challenge::read([both]), Some(Challenge::Bearer(_))));
        assert_eq!(Challenge::read([r#"Basic realm="x""#]), Some(Challenge::Basic));
        assert_eq!(Challenge::read(["basic"]), Some(Challenge::Basic));
        assert_eq!(Challenge::read(["Negotiate", ""]), None);
        assert_eq!(Challenge::read(["Bearer realm=nowhere"]), None);
    }

    #[test]
    fn garbage_ends() {
        for header in
            ["=", "==", ",,,", "Bearer =", "Bearer realm=\"", "\"", "a=\"\\", "= = =", "Bearer ,=,=\"x"]
        {
            let _ = Challenge::read([header]);
        }
    }

    #[test]
    fn credentials_go_to_the_registrys_own_site_only() {
        let hub: Url = "https://registry-1.docker.io/v2/".parse().unwrap();
        assert!(bearer("https://auth.docker.io/token").check_realm(&hub, true).is_ok());
        assert!(bearer("https://ghcr.io/token").check_realm(&hub, false).is_ok());
        let refused = bearer("https://ghcr.io/token").check_realm(&hub, true).unwrap_err();
        assert!(refused.contains("another site"), "{refused}");
        let uk: Url = "https://a.co.uk/".parse().unwrap();
        assert!(bearer("https://b.co.uk/token").check_realm(&uk, true).is_err());
        assert!(bearer("https://x.a.co.uk/token").check_realm(&uk, true).is_ok());
    }

    #[test]
    fn plain_http_is_for_the_same_host_of_an_insecure_registry() {
        let secure: Url = "https://reg.example/".parse().unwrap();
        let insecure: Url = "http://reg.example:5000/".parse().unwrap();
        assert!(bearer("http://reg.example/token").check_realm(&secure, false).is_err());
        assert!(bearer("http://reg.example:5001/token").check_realm(&insecure, true).is_ok());
        assert!(bearer("http://other.example/token").check_realm(&insecure, false).is_err());
        assert!(bearer("ftp://reg.example/").check_realm(&insecure, false).is_err());
        assert!(bearer("https://user:pw@reg.example/").check_realm(&secure, false).is_err());
    }

    #[test]
    fn an_address_is_its_own_site() {
        let one: Url = "https://10.0.0.1/".parse().unwrap();
        assert!(bearer("https://10.0.0.1/token").check_realm(&one, true).is_ok());
        assert!(bearer("https://11.0.0.1/token").check_realm(&one, true).is_err());
        let name: Url = "https://localhost/".parse().unwrap();
        assert!(bearer("https://localhost/token").check_realm(&name, true).is_ok());
    }

    #[test]
    fn no_more_than_reading_is_asked_for() {
        let mut wide = bearer("https://r.example/t");
        wide.scope = Some("repository:a:pull,push".to_owned());
        assert_eq!(wide.scope_for("a/b"), "repository:a/b:pull");
        wide.scope = Some("repository:a:pull registry:catalog:pull".to_owned());
        assert_eq!(wide.scope_for("a/b"), "repository:a/b:pull");
    }
}
