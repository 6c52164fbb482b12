//! One GET to a registry: bounded in time, size and redirects, never to an address that the guard refuses, never with
//! credentials for another host. It knows HTTP, not registries.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, StatusCode};
use url::Url;

use super::guard::{Forbidden, Guard, Kind};

/// Most redirects of one request: manifests take at most one, blobs one or two to a content network.
const MAX_REDIRECTS: usize = 3;
/// Most of an answer that is no success that is read, in bytes: enough for the error document.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How long a registry may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// To connect, TLS included.
    pub connect: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// For one request with its whole answer.
    pub total: Duration,
}

/// A proxy for https, and the hosts that are reached without it.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// Its address, with credentials where it wants them.
    pub url: Url,
    /// Hosts to reach directly, as `NO_PROXY` writes them.
    pub no_proxy: String,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Where it came from in the end.
    pub(super) url: Url,
}

/// Why nothing came back that could be used. It does not know about which image it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Our own rules do not let us ask, or go on: the whole sentence.
    #[error("{0}")]
    Refused(String),
    /// Down, slow, or broken off.
    #[error("{host} gives no answer: {reason}")]
    NoAnswer {
        /// Who was asked.
        host: String,
        /// What happened instead.
        reason: String,
    },
}

/// Sends requests. Cheap to share; its connections are kept between requests.
#[derive(Debug)]
pub(super) struct Transport {
    /// For hosts that the configuration does not name: public addresses only.
    public: Client,
    /// For those that it names; made only where there are any.
    named: Option<Client>,
    /// As [`endpoint`] writes them.
    named_hosts: BTreeSet<String>,
    insecure_hosts: BTreeSet<String>,
    named_guard: Guard,
}

impl Transport {
    pub(super) fn new(
        named_hosts: BTreeSet<String>,
        insecure_hosts: BTreeSet<String>,
        loopback: bool,
        deadlines: Deadlines,
        proxy: Option<&ProxySettings>,
    ) -> Result<Self, reqwest::Error> {
        let proxy_host = proxy.and_then(|proxy| Some(proxy.url.host_str()?.to_owned()));
        let named_guard = Guard { private: true, loopback, proxy: proxy_host.clone() };
        let public_guard = Guard { proxy: proxy_host, ..Guard::default() };
        let public = client(public_guard, deadlines, proxy)?;
        let named =
            if named_hosts.is_empty() { None } else { Some(client(named_guard.clone(), deadlines, proxy)?) };
        Ok(Self { public, named, named_hosts, insecure_hosts, named_guard })
    }

    /// GETs `url`, following redirects; `authorization` goes to the host of `url` alone.
    pub(super) async fn get(
        &self,
        url: &Url,
        accept: &'static str,
        authorization: Option<&HeaderValue>,
        max_bytes: usize,
    ) -> Result<Answer, Fault> {
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let authorization = authorization.filter(|_| at.origin() == url.origin());
            let answer = self.get_once(&at, accept, authorization, max_bytes).await?;
            if !is_redirect(answer.status) {
                return Ok(answer);
            }
            let target = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let target = target.and_then(|target| at.join(target).ok());
            let from = host_of(&at);
            let next =
                target.ok_or_else(|| Fault::Refused(format!("{from} redirects without saying where")))?;
            if !matches!(next.scheme(), "https" | "http") {
                let scheme = next.scheme();
                return Err(Fault::Refused(format!(
                    "{from} redirects to an address of {scheme}:, which is no way to reach a registry"
                )));
            }
            self.check_step(&at, &next)?;
            at = next;
        }
        Err(Fault::Refused(format!("{} redirects more than {MAX_REDIRECTS} times", host_of(url))))
    }

    /// A host that the configuration does not name does not get to send us to one that it does.
    pub(super) fn check_step(&self, from: &Url, to: &Url) -> Result<(), Fault> {
        if self.names(to) && !self.names(from) {
            let (from, to) = (host_of(from), host_of(to));
            return Err(Fault::Refused(format!(
                "{from} sends on to {to}, a registry of the configuration's own"
            )));
        }
        Ok(())
    }

    fn names(&self, url: &Url) -> bool {
        self.named_hosts.contains(&endpoint(url))
    }

    async fn get_once(
        &self,
        url: &Url,
        accept: &'static str,
        authorization: Option<&HeaderValue>,
        max_bytes: usize,
    ) -> Result<Answer, Fault> {
        let client = self.client_for(url)?;
        let mut request = client.get(url.clone()).header(ACCEPT, accept);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let mut response = request.send().await.map_err(|error| self.failure(url, &error))?;
        let status = response.status();
        let limit = if status.is_success() { max_bytes } else { MAX_ERROR_BYTES };
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.failure(url, &error))? {
            if body.len() + piece.len() > limit {
                if !status.is_success() {
                    break;
                }
                let host = host_of(url);
                return Err(Fault::Refused(format!("{host} answers with more than {limit} bytes")));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status, headers: response.headers().clone(), body, url: url.clone() })
    }

    /// The client whose rules hold for this address, which is judged here if it needs no resolving.
    fn client_for(&self, url: &Url) -> Result<&Client, Fault> {
        let host = host_of(url);
        let refused = |reason: String| Err(Fault::Refused(format!("{host} is not asked: {reason}")));
        match url.scheme() {
            "https" => (),
            "http" if self.insecure_hosts.contains(&endpoint(url)) => (),
            "http" => {
                return refused(format!(
                    "plain http is for registries that the configuration names: [registries.\"{host}\"] with insecure = true"
                ));
            }
            other => return refused(format!("{other} is no way to reach a registry")),
        }
        if !self.names(url) && url.port().is_some() {
            return refused(format!(
                "only port 443 is asked of registries that the configuration does not name: [registries.\"{host}\"]"
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("its address carries credentials".to_owned());
        }
        let literal = url.host_str().unwrap_or_default();
        let (client, judged) = match &self.named {
            Some(named) if self.names(url) => (named, self.named_guard.check_literal(literal)),
            _ => (&self.public, Guard::default().check_literal(literal)),
        };
        match judged {
            Ok(()) => Ok(client),
            Err(forbidden) => refused(self.explain(&forbidden, url)),
        }
    }

    /// Why an address is not connected to, and what to change where anything can be changed.
    fn explain(&self, forbidden: &Forbidden, url: &Url) -> String {
        let advice = match forbidden.kind {
            Kind::Never(_) => "no registry can be there, whatever the configuration says".to_owned(),
            _ if self.names(url) => {
                "registries on this machine are asked only while server.address is a loopback address"
                    .to_owned()
            }
            _ => format!(
                "if that is your registry, name it in the configuration: [registries.\"{}\"]",
                host_of(url)
            ),
        };
        format!("{forbidden}; {advice}")
    }

    /// Why there is no answer; or that our own rules do not let us ask.
    fn failure(&self, url: &Url, error: &reqwest::Error) -> Fault {
        let host = host_of(url);
        let mut cause = error.source();
        let mut last = None;
        while let Some(error) = cause {
            if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
                let reason = self.explain(forbidden, url);
                return Fault::Refused(format!("{host} is not asked: {reason}"));
            }
            last = Some(error.to_string());
            cause = error.source();
        }
        let reason = if error.is_timeout() {
            "it did not answer in time".to_owned()
        } else if error.is_connect() {
            format!("it cannot be reached ({})", last.unwrap_or_else(|| "no connection".to_owned()))
        } else {
            format!("its answer broke off ({})", last.unwrap_or_else(|| "no more data".to_owned()))
        };
        Fault::NoAnswer { host, reason }
    }
}

/// `host:port` with the port that is connected to, whether it is written or the scheme's own: what is named and what is
/// asked are compared in this form.
pub(super) fn endpoint(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// `host`, or `host:port` where the port is not the scheme's own: what people are shown.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn client(
    guard: Guard,
    deadlines: Deadlines,
    proxy: Option<&ProxySettings>,
) -> Result<Client, reqwest::Error> {
    let builder = Client::builder()
        .user_agent(concat!("addon-marketplace/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .dns_resolver(guard)
        .connect_timeout(deadlines.connect)
        .read_timeout(deadlines.idle)
        .timeout(deadlines.total)
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(4)
        .no_proxy();
    let Some(proxy) = proxy else { return builder.build() };
    let exceptions = reqwest::NoProxy::from_string(&proxy.no_proxy);
    builder.proxy(reqwest::Proxy::https(proxy.url.clone())?.no_proxy(exceptions)).build()
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(named: &[&str], insecure: &[&str]) -> Transport {
        let set = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
        let second = Duration::from_secs(1);
        let deadlines = Deadlines { connect: second, idle: second, total: second };
        Transport::new(set(named), set(insecure), true, deadlines, None).unwrap()
    }

    fn allowed(transport: &Transport, url: &str) -> Result<(), String> {
        transport.client_for(&url.parse().unwrap()).map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn plain_http_and_inner_addresses_are_for_named_host_and_port_only() {
        let transport =
            transport(&["127.0.0.1:5000", "10.0.0.1:443", "10.0.0.2:80"], &["127.0.0.1:5000", "10.0.0.2:80"]);
        for (url, expected) in [
            ("https://registry.example/v2/", true),
            ("https://registry.example:443/v2/", true),
            ("https://registry.example:8443/v2/", false),
            ("https://registry.example:22/", false),
            ("http://registry.example/v2/", false),
            ("http://127.0.0.1:5000/v2/", true),
            ("http://127.0.0.1:22/", false),
            ("https://127.0.0.1/", false),
            ("https://10.0.0.1/", true),
            ("https://10.0.0.1:443/", true),
            ("https://10.0.0.1:8443/", false),
            ("http://10.0.0.1/", false),
            ("http://10.0.0.2/", true),
            ("http://10.0.0.2:80/", true),
            ("https://10.0.0.2/", false),
            ("https://2130706433/", false),
            ("https://0x7f.1/", false),
            ("https://[::ffff:127.0.0.1]/", false),
            ("https://user@registry.example/", false),
            ("ftp://registry.example/", false),
        ] {
            assert_eq!(allowed(&transport, url).is_ok(), expected, "{url}");
        }
    }

    #[test]
    fn a_stranger_does_not_send_on_to_a_named_registry() {
        let transport = transport(&["own.example:443", "mine.example:443"], &[]);
        let step =
            |from: &str, to: &str| transport.check_step(&from.parse().unwrap(), &to.parse().unwrap()).is_ok();
        assert!(!step("https://evil.example/", "https://own.example/x"));
        assert!(step("https://mine.example/", "https://own.example/x"));
        assert!(step("https://own.example/", "https://cdn.example/x"));
        assert!(step("https://a.example/", "https://b.example/"));
    }

    #[test]
    fn a_refusal_says_what_to_change() {
        let refusal = allowed(&transport(&[], &[]), "https://10.0.0.1:5000/").unwrap_err();
        assert!(refusal.contains("[registries.\"10.0.0.1:5000\"]"), "{refusal}");
        let refusal = allowed(&transport(&[], &[]), "http://r.example/").unwrap_err();
        assert!(refusal.contains("insecure = true"), "{refusal}");
        // Naming would not help these, so it is not the advice.
        let local = transport(&["169.254.169.254:443"], &[]);
        for transport in [transport(&[], &[]), local] {
            let refusal = allowed(&transport, "https://169.254.169.254/").unwrap_err();
            assert!(refusal.contains("a link-local address; no registry can be there"), "{refusal}");
            assert!(!refusal.contains("[registries."), "{refusal}");
        }
        let mut elsewhere = transport(&["127.0.0.1:443"], &[]);
        elsewhere.named_guard.loopback = false;
        let refusal = allowed(&elsewhere, "https://127.0.0.1/").unwrap_err();
        assert!(refusal.contains("server.address") && !refusal.contains("[registries."), "{refusal}");
    }
}
