//! One GET to a registry: bounded in time, size and redirects, never to an address that the guard refuses, never with
//! credentials for another host. It knows HTTP, not registries.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, StatusCode};
use url::{Host, Url};

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
    /// Our own rules do not let us ask.
    #[error("{host} is not asked: {rule}{advice}")]
    Refused {
        /// Who would have been asked.
        host: String,
        /// Which rule is against it.
        rule: String,
        /// What to change, with the punctuation before it; may be empty.
        advice: String,
    },
    /// There is more of it than is read.
    #[error("{host} answers with more than {limit} bytes")]
    TooMuch {
        /// Who was asked.
        host: String,
        /// How much is read.
        limit: usize,
    },
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
    /// Names are resolved by a proxy as well, so that the addresses judged here are not those that are connected to.
    proxied: bool,
    connect: Duration,
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
        let (proxied, connect) = (proxy.is_some(), deadlines.connect);
        Ok(Self { public, named, named_hosts, insecure_hosts, named_guard, proxied, connect })
    }

    /// GETs `url`, following redirects; `authorization` goes to the host of `url` alone. A redirect that is not followed is
    /// no answer: gateways send everybody elsewhere while their registry is away.
    pub(super) async fn get(
        &self,
        url: &Url,
        accept: &'static str,
        authorization: Option<&HeaderValue>,
        max_bytes: usize,
    ) -> Result<Answer, Fault> {
        let not_followed = |reason: String| Fault::NoAnswer { host: host_of(url), reason };
        let sent_on = |fault| match fault {
            Fault::Refused { host, rule, .. } => {
                not_followed(format!("it sends on to {host}, which is not followed: {rule}"))
            }
            fault => fault,
        };
        let mut at = url.clone();
        let mut answer = self.get_once(url, accept, authorization, max_bytes).await?;
        for _ in 0..MAX_REDIRECTS {
            if !is_redirect(answer.status) {
                return Ok(answer);
            }
            let target = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let target = target.and_then(|target| at.join(target).ok());
            let next = target.ok_or_else(|| not_followed("it redirects without saying where".to_owned()))?;
            self.check_step(&at, &next).map_err(sent_on)?;
            at = next;
            let authorization = authorization.filter(|_| at.origin() == url.origin());
            answer = self.get_once(&at, accept, authorization, max_bytes).await.map_err(sent_on)?;
        }
        if is_redirect(answer.status) {
            return Err(not_followed(format!("it redirects more than {MAX_REDIRECTS} times")));
        }
        Ok(answer)
    }

    /// A host that the configuration does not name does not get to send us to one that it does.
    pub(super) fn check_step(&self, from: &Url, to: &Url) -> Result<(), Fault> {
        if self.names(to) && !self.names(from) {
            let (host, from) = (host_of(to), host_of(from));
            let rule = format!("{from} sends there, and it is a registry of the configuration's own");
            return Err(Fault::Refused { host, rule, advice: String::new() });
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
        if self.proxied && url.scheme() == "https" {
            self.check_resolved(url).await?;
        }
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
                return Err(Fault::TooMuch { host: host_of(url), limit });
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status, headers: response.headers().clone(), body, url: url.clone() })
    }

    /// The client whose rules hold for this address, which is judged here if it needs no resolving.
    fn client_for(&self, url: &Url) -> Result<&Client, Fault> {
        let host = host_of(url);
        let refused = |rule: &str, advice: String| {
            Err(Fault::Refused { host: host.clone(), rule: rule.to_owned(), advice })
        };
        match url.scheme() {
            "https" => (),
            "http" if self.insecure_hosts.contains(&endpoint(url)) => (),
            "http" => {
                let advice = format!(": [registries.\"{host}\"] with insecure = true");
                return refused("plain http is for registries that the configuration names", advice);
            }
            other => return refused(&format!("{other}: is no way to reach a registry"), String::new()),
        }
        if !self.names(url) && url.port().is_some() {
            return refused(
                "only port 443 is asked of registries that the configuration does not name",
                format!(": [registries.\"{host}\"]"),
            );
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("its address carries credentials", String::new());
        }
        let literal = url.host_str().unwrap_or_default();
        let (client, judged) = match &self.named {
            Some(named) if self.names(url) => (named, self.named_guard.check_literal(literal)),
            _ => (&self.public, Guard::default().check_literal(literal)),
        };
        judged.map(|()| client).map_err(|forbidden| self.forbidden(&forbidden, url))
    }

    /// Judges the addresses that the host of `url` has here, before a proxy is told its name: the proxy stands in a
    /// network of its own and would connect to whatever is there.
    async fn check_resolved(&self, url: &Url) -> Result<(), Fault> {
        let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
        let named = self.names(url);
        let guard = if named { &self.named_guard } else { &Guard::default() };
        let found = tokio::time::timeout(self.connect, tokio::net::lookup_host((name, 0))).await;
        match found {
            Ok(Ok(addresses)) => {
                for address in addresses {
                    guard.check(name, address.ip()).map_err(|forbidden| self.forbidden(&forbidden, url))?;
                }
            }
            // Whoever names a registry may leave its name to the proxy.
            _ if named => return Ok(()),
            _ if !is_inner(name) => {
                let reason = format!(
                    "its name has no address here, and the proxy is asked only for what is known to be outside;                      if that is right, name it in the configuration: [registries.\"{name}\"]"
                );
                return Err(Fault::NoAnswer { host: host_of(url), reason });
            }
            _ => (),
        }
        if !named && is_inner(name) {
            return Err(Fault::Refused {
                host: host_of(url),
                rule: "it is a name of an inner network, which may be another one at the proxy".to_owned(),
                advice: naming(url),
            });
        }
        Ok(())
    }

    /// Why an address is not connected to, and what to change where anything can be changed.
    fn forbidden(&self, forbidden: &Forbidden, url: &Url) -> Fault {
        let advice = match forbidden.kind {
            Kind::Never(_) => "; no registry can be there, whatever the configuration says".to_owned(),
            _ if self.names(url) => {
                "; registries on this machine are asked only while server.address is a loopback address"
                    .to_owned()
            }
            _ => naming(url),
        };
        Fault::Refused { host: host_of(url), rule: forbidden.to_string(), advice }
    }

    /// Why there is no answer; or that our own rules do not let us ask.
    fn failure(&self, url: &Url, error: &reqwest::Error) -> Fault {
        let host = host_of(url);
        let mut cause = error.source();
        let mut last = None;
        while let Some(error) = cause {
            if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
                return self.forbidden(forbidden, url);
            }
            last = Some(error.to_string());
            cause = error.source();
        }
        let reason = if error.is_timeout() {
            "it did not answer in time".to_owned()
        } else if error.is_connect() {
            unreachable(&last.unwrap_or_else(|| "no connection".to_owned()))
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

/// Why there is no connection, and what to do about it where that is known.
fn unreachable(why: &str) -> String {
    let advice = if why.contains("invalid peer certificate") {
        "; for an authority of your own, let SSL_CERT_FILE name a file with its certificate and those of the public ones"
    } else {
        ""
    };
    format!("it cannot be reached ({why}){advice}")
}

fn naming(url: &Url) -> String {
    format!("; if that is your registry, name it in the configuration: [registries.\"{}\"]", host_of(url))
}

/// Names that every network has its own of (RFC 6761, 6762, 8375, 9476, and those without a dot).
fn is_inner(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let last = name.rsplit('.').next().unwrap_or_default();
    last == name
        || matches!(last, "localhost" | "local" | "internal" | "intranet" | "lan" | "corp" | "home")
        || name.ends_with(".home.arpa")
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
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    use super::*;

    fn transport(named: &[&str], insecure: &[&str]) -> Transport {
        behind(None, named, insecure)
    }

    fn behind(proxy: Option<&ProxySettings>, named: &[&str], insecure: &[&str]) -> Transport {
        let set = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
        let second = Duration::from_secs(5);
        let deadlines = Deadlines { connect: second, idle: second, total: second };
        Transport::new(set(named), set(insecure), true, deadlines, proxy).unwrap()
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

    #[test]
    fn an_authority_of_ones_own_is_thought_of() {
        let said = unreachable("invalid peer certificate: UnknownIssuer");
        assert!(said.contains("UnknownIssuer") && said.contains("SSL_CERT_FILE"), "{said}");
        assert!(!unreachable("Connection refused").contains("SSL_CERT_FILE"));
    }

    /// A proxy that lets nobody through, and for whom it was asked.
    async fn proxy() -> (ProxySettings, Arc<Mutex<Vec<String>>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                kept.lock().unwrap().push(line.split(' ').nth(1).unwrap_or_default().to_owned());
                _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await;
            }
        });
        (ProxySettings { url, no_proxy: String::new() }, asked)
    }

    #[tokio::test]
    async fn a_proxy_is_not_told_what_is_or_may_be_inside() {
        let (proxy, asked) = proxy().await;
        let transport = behind(Some(&proxy), &["registry.named.test:443"], &[]);
        let get = async |host: &str| {
            let url: Url = format!("https://{host}/v2/").parse().unwrap();
            transport.get(&url, "*/*", None, 100).await.unwrap_err()
        };
        // What has an inner address here, what may have one at the proxy, what is nowhere.
        for (host, refused) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("169.254.169.254", true),
            ("metadata.google.internal", true),
            ("internal.corp", true),
            ("proxy", true),
            ("printer.local", true),
            ("nowhere.invalid", false),
        ] {
            let fault = get(host).await;
            assert_eq!(matches!(fault, Fault::Refused { .. }), refused, "{host}: {fault}");
            assert!(fault.to_string().contains(host), "{fault}");
        }
        let fault = get("localhost").await.to_string();
        assert!(fault.contains("a loopback address"), "what it resolves to is judged: {fault}");
        let fault = get("nowhere.invalid").await.to_string();
        assert!(fault.contains("[registries.\"nowhere.invalid\"]"), "{fault}");
        assert_eq!(asked.lock().unwrap().as_slice(), [""; 0]);
        // A name of the configuration's own may be known to the proxy alone.
        assert!(matches!(get("registry.named.test").await, Fault::NoAnswer { .. }));
        assert_eq!(asked.lock().unwrap().as_slice(), ["registry.named.test:443"]);
    }
}
