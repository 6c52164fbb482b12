//! What a registry says about an image: the OCI distribution specification's reading half, without Docker and without
//! pulling a layer.
//!
//! `address` knows where a registry's API is, `transport` makes one careful request, `challenge` reads how to log in,
//! `manifest` what is served, `guard` where a connection may go. This file puts them in order and sorts what can go
//! wrong into two kinds: an answer (the image is not there) and no answer (ask again later).

mod address;
mod challenge;
mod credentials;
mod guard;
pub mod manifest;
pub mod platform;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use addon_descriptor::{Digest, ImageRef};
use base64::Engine as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::StatusCode;
use reqwest::header::{HeaderValue, WWW_AUTHENTICATE};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use url::Url;

pub use self::address::is_loopback_host;
pub use self::credentials::{Credentials, DockerConfigError, docker_config};
pub use self::transport::{Deadlines, ProxySettings};

use self::address::Place;
use self::challenge::{Bearer, Challenge};
use self::manifest::{Entry, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest};
use self::platform::Platform;
use self::transport::{Answer, Transport, host_of};

/// Indexes inside indexes that are followed: none is common, one is seen.
const MAX_DEPTH: usize = 2;
/// Manifests of one index that are asked for at once.
const PARALLEL: usize = 4;
/// Largest answer of a token service, in bytes.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// What the configuration says about one registry.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// Who to log in as.
    pub credentials: Option<Credentials>,
    /// It is spoken to in plain http.
    pub insecure: bool,
    /// Another registry (`host[:port]`) that is asked first for everything in this one.
    pub mirror: Option<String>,
}

/// How to ask registries.
#[derive(Debug, Clone)]
pub struct Settings {
    /// By `host[:port]`, as image references have it (`docker.io` for Docker Hub).
    pub registries: BTreeMap<String, Registry>,
    /// Named registries may be on loopback addresses.
    pub loopback: bool,
    /// Limits of one request.
    pub deadlines: Deadlines,
    /// A proxy for https.
    pub proxy: Option<ProxySettings>,
}

/// What a registry knows about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Of the index where there is one, else of the manifest: what the tag names today.
    pub digest: Digest,
    /// Each platform that the image is for; never empty.
    pub platforms: Vec<PlatformFacts>,
}

/// One platform's part of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformFacts {
    /// What it runs on.
    pub platform: Platform,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Digest of its configuration: what an engine calls the image's id.
    pub config: Digest,
    /// Compressed size of layers and configuration, in bytes.
    pub bytes: u64,
}

/// Why there are no facts. All but [`NoAnswer`](Self::NoAnswer) are answers: asking again gives the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The registry says that there is no such image.
    #[error("{image} does not exist: {registry} knows no such repository or tag")]
    NotFound {
        /// The reference.
        image: String,
        /// Who says so.
        registry: String,
    },
    /// The registry lets nobody see it, or not us.
    #[error("{image} cannot be seen: {registry} {reason}")]
    Denied {
        /// The reference.
        image: String,
        /// Who says so.
        registry: String,
        /// What it says, and what can be done.
        reason: String,
    },
    /// What it serves is no image that an engine could run.
    #[error("{image} {reason}")]
    Invalid {
        /// The reference.
        image: String,
        /// What is wrong, as the rest of the sentence.
        reason: String,
    },
    /// Our own rules do not let us ask.
    #[error("{host} is not asked: {reason}")]
    Refused {
        /// The host that would have been asked.
        host: String,
        /// Which rule.
        reason: String,
    },
    /// Down, slow, overloaded, or not speaking as a registry does.
    #[error("{host} gives no answer: {reason}")]
    NoAnswer {
        /// Who was asked.
        host: String,
        /// What happened instead.
        reason: String,
        /// It said when to come back.
        retry_after: Option<Wait>,
    },
}

/// When a registry wants to be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// After this long.
    For(Duration),
    /// At this second since the epoch.
    Until(i64),
}

impl RegistryError {
    /// Whether this tells nothing about the image.
    pub fn is_no_answer(&self) -> bool {
        matches!(self, Self::NoAnswer { .. })
    }
}

/// Asks registries.
#[derive(Debug)]
pub struct RegistryClient {
    transport: Transport,
    registries: BTreeMap<String, Registry>,
}

impl RegistryClient {
    /// A client by these settings.
    ///
    /// # Errors
    /// Where TLS cannot be set up: the machine has no root certificates.
    pub fn new(settings: Settings) -> Result<Self, reqwest::Error> {
        let mut named = BTreeSet::new();
        let mut insecure = BTreeSet::new();
        for (name, registry) in &settings.registries {
            let host = address::api_host(name).to_owned();
            if registry.insecure {
                insecure.insert(host.clone());
            }
            named.insert(host);
            named.extend(registry.mirror.as_deref().map(|mirror| address::api_host(mirror).to_owned()));
        }
        let transport =
            Transport::new(named, insecure, settings.loopback, settings.deadlines, settings.proxy.as_ref())?;
        Ok(Self { transport, registries: settings.registries })
    }

    /// What the image's registry says about it: its mirror is asked first, and the registry itself where that has
    /// nothing to say.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn image(&self, image: &ImageRef) -> Result<ImageFacts, RegistryError> {
        let place = Place::of(image);
        let mirror = self.registries.get(&place.registry).and_then(|registry| registry.mirror.as_deref());
        if let Some(mirror) = mirror {
            let mirrored = self.session(Place { registry: mirror.to_owned(), ..place.clone() }, image)?;
            match mirrored.facts().await {
                Ok(facts) => return Ok(facts),
                Err(error) => {
                    tracing::debug!(image.reference = %image, %error, "the mirror has nothing to say");
                }
            }
        }
        let facts = self.session(place, image)?.facts().await;
        let outcome = match &facts {
            Ok(_) => "found",
            Err(RegistryError::NotFound { .. }) => "not_found",
            Err(RegistryError::Denied { .. }) => "denied",
            Err(RegistryError::Invalid { .. }) => "invalid",
            Err(RegistryError::Refused { .. }) => "refused",
            Err(RegistryError::NoAnswer { .. }) => "no_answer",
        };
        metrics::counter!("marketplace_images_asked_total", "outcome" => outcome).increment(1);
        facts
    }

    fn session(&self, place: Place, image: &ImageRef) -> Result<Session<'_>, RegistryError> {
        let host = address::api_host(&place.registry).to_owned();
        let base = format!("{}://{host}/v2/", self.transport.scheme(&host));
        let base = Url::parse(&base).map_err(|_| RegistryError::Invalid {
            image: image.to_string(),
            reason: format!("names a registry that is no host: {host}"),
        })?;
        Ok(Session {
            transport: &self.transport,
            credentials: self
                .registries
                .get(&place.registry)
                .and_then(|registry| registry.credentials.as_ref()),
            base,
            place,
            image: image.to_string(),
            login: Mutex::new(None),
        })
    }
}

/// The questions about one image at one registry; they share a login.
struct Session<'a> {
    transport: &'a Transport,
    credentials: Option<&'a Credentials>,
    base: Url,
    place: Place,
    image: String,
    login: Mutex<Option<Login>>,
}

/// What a host accepted, and nobody else is shown.
#[derive(Clone)]
struct Login {
    host: String,
    authorization: HeaderValue,
}

#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

#[derive(Deserialize)]
struct ErrorDocument {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: String,
}

impl Session<'_> {
    async fn facts(&self) -> Result<ImageFacts, RegistryError> {
        let (digest, manifest) = self.manifest(&self.place.reference).await?;
        let mut platforms = match manifest {
            Manifest::Image { config, bytes } => {
                let platform = self.platform(config).await?;
                vec![PlatformFacts { platform, manifest: digest, config, bytes }]
            }
            Manifest::Index(entries) => self.platforms(entries).await?,
        };
        platforms.sort_by(|a, b| a.platform.cmp(&b.platform));
        if platforms.is_empty() {
            return Err(self.invalid("has an index without any image".to_owned()));
        }
        Ok(ImageFacts { digest, platforms })
    }

    /// Follows an index to its images, and through indexes inside it.
    async fn platforms(&self, mut entries: Vec<Entry>) -> Result<Vec<PlatformFacts>, RegistryError> {
        let mut found = Vec::with_capacity(entries.len());
        for _ in 0..MAX_DEPTH {
            let (indexes, images): (Vec<Entry>, Vec<Entry>) =
                entries.into_iter().partition(|entry| entry.is_index);
            let answers: Vec<PlatformFacts> = stream::iter(images.into_iter().map(|entry| self.entry(entry)))
                .buffered(PARALLEL)
                .try_collect()
                .await?;
            found.extend(answers);
            entries = Vec::new();
            for index in indexes {
                match self.manifest(&index.digest.to_string()).await?.1 {
                    Manifest::Index(inner) => entries.extend(inner),
                    Manifest::Image { .. } => {
                        return Err(
                            self.invalid(format!("lists {} as an index, which it is not", index.digest))
                        );
                    }
                }
            }
            if entries.is_empty() {
                return Ok(found);
            }
        }
        Err(self.invalid("has indexes inside indexes inside an index".to_owned()))
    }

    async fn entry(&self, entry: Entry) -> Result<PlatformFacts, RegistryError> {
        let (manifest, document) = self.manifest(&entry.digest.to_string()).await?;
        let Manifest::Image { config, bytes } = document else {
            return Err(self.invalid(format!("lists {manifest} as an image, which it is not")));
        };
        let platform = match entry.platform {
            Some(platform) => platform,
            None => self.platform(config).await?,
        };
        Ok(PlatformFacts { platform, manifest, config, bytes })
    }

    /// Fetches a manifest by tag or digest, and holds it to every digest it is called by.
    async fn manifest(&self, reference: &str) -> Result<(Digest, Manifest), RegistryError> {
        let answer =
            self.ask(&format!("manifests/{reference}"), manifest::ACCEPT, MAX_MANIFEST_BYTES).await?;
        let digest = Digest::of(&answer.body);
        let claimed = answer.headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
        let asked = reference.parse::<Digest>().ok();
        let claimed = claimed.and_then(|text| text.parse::<Digest>().ok());
        if let Some(other) = asked.into_iter().chain(claimed).find(|called| *called != digest) {
            return Err(
                self.invalid(format!("is served wrongly: the registry calls {other} what is {digest}"))
            );
        }
        let manifest = manifest::read(&answer.body).map_err(|reason| self.invalid(reason))?;
        Ok((digest, manifest))
    }

    async fn platform(&self, config: Digest) -> Result<Platform, RegistryError> {
        let answer = self.ask(&format!("blobs/{config}"), "*/*", MAX_CONFIG_BYTES).await?;
        if Digest::of(&answer.body) != config {
            return Err(self.invalid(format!("is served wrongly: its configuration is not {config}")));
        }
        manifest::read_config(&answer.body).map_err(|reason| self.invalid(reason))
    }

    /// GETs something of the repository, logging in when asked to, and sorts the answer.
    async fn ask(&self, path: &str, accept: &'static str, max_bytes: usize) -> Result<Answer, RegistryError> {
        let url = self.base.join(&format!("{}/{path}", self.place.repository));
        let url = url.map_err(|_| self.invalid("is no name that a registry could have".to_owned()))?;
        let login = self.login.lock().expect("no holder of the lock can panic").clone();
        let mut answer = self.send(&url, accept, login.as_ref(), max_bytes).await?;
        if answer.status == StatusCode::UNAUTHORIZED
            && let Some(login) = self.log_in(&answer).await?
        {
            // A redirect may have led to another host, which is then asked itself: logins are not carried over.
            let from = if login.host == host_of(&url) { url } else { answer.url.clone() };
            *self.login.lock().expect("no holder of the lock can panic") = Some(login.clone());
            answer = self.send(&from, accept, Some(&login), max_bytes).await?;
        }
        if answer.status == StatusCode::OK { Ok(answer) } else { Err(self.refusal(&answer)) }
    }

    async fn send(
        &self,
        url: &Url,
        accept: &'static str,
        login: Option<&Login>,
        max_bytes: usize,
    ) -> Result<Answer, RegistryError> {
        let login = login.filter(|login| login.host == host_of(url));
        let answer =
            self.transport.get(url, accept, login.map(|login| &login.authorization), max_bytes).await;
        let status = answer.as_ref().map_or(0, |answer| answer.status.as_u16());
        metrics::counter!("marketplace_registry_requests_total", "status" => class_of(status)).increment(1);
        answer
    }

    /// What answers the challenge of a 401; `None` where it brings none that can be met.
    async fn log_in(&self, answer: &Answer) -> Result<Option<Login>, RegistryError> {
        let host = host_of(&answer.url);
        let credentials = self.credentials.filter(|_| answer.url.origin() == self.base.origin());
        let headers = answer.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let authorization = match Challenge::read(headers) {
            None => return Ok(None),
            Some(Challenge::Basic) => match credentials {
                Some(credentials) => basic(credentials),
                None => return Ok(None),
            },
            Some(Challenge::Bearer(bearer)) => self.token(&answer.url, &bearer, credentials).await?,
        };
        Ok(Some(Login { host, authorization }))
    }

    async fn token(
        &self,
        registry: &Url,
        bearer: &Bearer,
        credentials: Option<&Credentials>,
    ) -> Result<HeaderValue, RegistryError> {
        bearer
            .check_realm(registry, credentials.is_some())
            .map_err(|reason| RegistryError::Refused { host: host_of(registry), reason })?;
        self.transport.check_step(registry, &bearer.realm)?;
        let mut realm = bearer.realm.clone();
        {
            let mut query = realm.query_pairs_mut();
            if let Some(service) = &bearer.service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", &bearer.scope_for(&self.place.repository));
        }
        let login = credentials.map(basic);
        let answer = self.transport.get(&realm, "application/json", login.as_ref(), MAX_TOKEN_BYTES).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refusal(&answer));
        }
        let token =
            serde_json::from_slice::<Token>(&answer.body).ok().filter(|token| !token.token.is_empty());
        let header = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.token)).ok());
        let mut header = header.ok_or_else(|| RegistryError::NoAnswer {
            host: host_of(&realm),
            reason: "it was asked for a token and answered something else".to_owned(),
            retry_after: None,
        })?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Sorts an answer that is no success. Only what a registry says in a registry's words is an answer: a gateway in
    /// front of a stopped registry says 404 as well.
    fn refusal(&self, answer: &Answer) -> RegistryError {
        let (image, registry, host) = (self.image.clone(), self.place.registry.clone(), host_of(&answer.url));
        let document = serde_json::from_slice::<ErrorDocument>(&answer.body).ok();
        let code =
            document.as_ref().and_then(|document| document.errors.first()).map(|error| error.code.as_str());
        let speaks = code.is_some()
            || answer.headers.contains_key("docker-distribution-api-version")
            || answer.headers.contains_key(WWW_AUTHENTICATE);
        match answer.status.as_u16() {
            404 if speaks => RegistryError::NotFound { image, registry },
            401 | 403 if speaks || answer.url.origin() != self.base.origin() => {
                RegistryError::Denied { image, reason: self.what_to_do(), registry }
            }
            400 if speaks => {
                let reason = format!("is refused by {registry}: {}", code.unwrap_or("a malformed request"));
                RegistryError::Invalid { image, reason }
            }
            status => {
                let reason = match status {
                    429 => "it has been asked too often (429)".to_owned(),
                    500.. => format!("it is in trouble ({status})"),
                    _ => format!("it answers {status}, but not as a registry does"),
                };
                RegistryError::NoAnswer { host, reason, retry_after: retry_after(answer) }
            }
        }
    }

    fn what_to_do(&self) -> String {
        let key = &self.place.registry;
        match self.credentials {
            Some(_) => format!(
                "refuses the credentials of [registries.\"{key}\"], or they may not read this repository, or it does not exist"
            ),
            None => format!(
                "wants a login, or has no such repository; make it public, or configure [registries.\"{key}\"] with user and password_file"
            ),
        }
    }

    fn invalid(&self, reason: String) -> RegistryError {
        RegistryError::Invalid { image: self.image.clone(), reason }
    }
}

fn basic(credentials: &Credentials) -> HeaderValue {
    let pair = format!("{}:{}", credentials.user, credentials.password.expose_secret());
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    let mut header = HeaderValue::from_str(&format!("Basic {encoded}")).expect("base64 is visible ASCII");
    header.set_sensitive(true);
    header
}

fn class_of(status: u16) -> &'static str {
    match status {
        0 => "none",
        200..=299 => "2xx",
        300..=399 => "3xx",
        401 | 403 => "denied",
        404 => "404",
        429 => "429",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

/// `Retry-After` in both of its forms (RFC 9110, 10.2.3).
fn retry_after(answer: &Answer) -> Option<Wait> {
    let value = answer.headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Wait::For(Duration::from_secs(seconds)));
    }
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let date = time::PrimitiveDateTime::parse(value, &format).ok()?;
    Some(Wait::Until(date.assume_utc().unix_timestamp()))
}
