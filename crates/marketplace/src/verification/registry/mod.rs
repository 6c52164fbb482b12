//! What a registry says about an image: the OCI distribution specification's reading half, without Docker and without
//! pulling a layer.
//!
//! `address` knows where a registry's API is, `transport` makes one careful request, `challenge` reads how to log in,
//! `manifest` and `config` what is served, `guard` where a connection may go, `rest` and
//! `pace` whom to leave alone, `memory` what need not be asked, and `session` puts them in order for one image. What can
//! go wrong is of two kinds: an answer (the image is not there) and no answer (ask again later).

mod address;
mod challenge;
pub mod config;
mod credentials;
mod guard;
pub mod manifest;
mod memory;
mod pace;
pub mod platform;
mod rest;
mod session;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use addon_client::Timestamp;
use addon_descriptor::{Digest, ImageRef};
use serde::{Deserialize, Serialize};
use service_kit::auth::NamePattern;
use service_kit::clock::{SharedClock, SystemClock};
use url::Url;

pub use self::address::{find_key, is_loopback_host};
pub use self::credentials::{Credentials, DockerConfigError, Logins, docker_config};
pub use self::guard::never_asked;
pub use self::memory::{Heard, Memory};
pub use self::transport::{Deadlines, ProxySettings};

use self::address::Place;
use self::config::ImageConfig;
use self::memory::{Forgetful, Part};
use self::pace::Pace;
use self::platform::Platform;
use self::rest::Rests;
use self::session::{Asking, Session};
use self::transport::{Fault, Transport, endpoint};

/// What the configuration says about one registry.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// Who to log in as.
    pub credentials: Option<Credentials>,
    /// The accounts for whose releases that is; none: everybody's.
    pub publishers: Vec<String>,
    /// The names of the addons that it is for; none: all.
    pub addons: Vec<NamePattern>,
    /// It is spoken to in plain http.
    pub insecure: bool,
    /// Another registry (`host[:port]`) that is asked first for everything in this one.
    pub mirror: Option<String>,
}

impl Registry {
    /// Whether its login is for some releases only.
    pub fn is_limited(&self) -> bool {
        !(self.publishers.is_empty() && self.addons.is_empty())
    }

    /// Who to log in as for this asker.
    fn login(&self, asker: Asker<'_>) -> Option<&Credentials> {
        let named = |account: &String| account.eq_ignore_ascii_case(asker.publisher);
        let of_theirs = self.publishers.is_empty() || self.publishers.iter().any(named);
        let of_these = self.addons.is_empty() || self.addons.iter().any(|names| names.matches(asker.addon));
        self.credentials.as_ref().filter(|_| of_theirs && of_these)
    }
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

/// For whom, and how, a registry is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker<'a> {
    /// The account that published the release.
    pub publisher: &'a str,
    /// The release's addon.
    pub addon: &'a str,
    /// Also where it wants to be left alone.
    pub at_once: bool,
}

/// What a registry knows about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// Of the index where there is one, else of the manifest: what the tag names today.
    pub digest: Digest,
    /// Each platform that the image is for; never empty.
    pub platforms: Vec<PlatformFacts>,
    /// What is odd about it and does not keep it from being run, as sentences about its index.
    pub remarks: Vec<String>,
}

/// One platform's part of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformFacts {
    /// What it runs on.
    pub platform: Platform,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Digest of its configuration: what an engine calls the image's id.
    pub config: Digest,
    /// Compressed size of layers and configuration, in bytes.
    pub bytes: u64,
    /// How many layers it has.
    pub layers: usize,
    /// What it says of itself.
    pub image: ImageConfig,
}

/// Why there are no facts. All but [`NoAnswer`](Self::NoAnswer) are answers: asking again gives the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
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
    /// A part of it is gone: what its index or manifest names is not there.
    #[error("{image} {reason}")]
    Incomplete {
        /// The reference.
        image: String,
        /// What is missing, as the rest of the sentence.
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
    #[error("{image} cannot be verified: {reason}")]
    Refused {
        /// The reference.
        image: String,
        /// Who would have been asked, and which rule is against it.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    /// After this long.
    For(Duration),
    /// At this second since the epoch.
    Until(i64),
    /// Not now; it does not say when.
    AWhile,
}

impl Wait {
    /// How long that is from now, where it is said.
    pub fn from(self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::For(wait) => Some(wait),
            Self::Until(second) => Some(Timestamp::from_millis(second.saturating_mul(1000)).since(now)),
            Self::AWhile => None,
        }
    }
}

impl RegistryError {
    /// Whether this tells nothing about the image.
    pub fn is_no_answer(&self) -> bool {
        matches!(self, Self::NoAnswer { .. })
    }

    /// Whether the registry says that the image, or a part of it, is not there. That it is not shown, or that our own rules
    /// keep us from asking, does not say so.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Incomplete { .. })
    }

    /// What became of a request for this image.
    fn of(image: &str, fault: Fault) -> Self {
        match fault {
            Fault::NoAnswer { host, reason } => {
                Self::NoAnswer { host, reason: presentable(reason), retry_after: None }
            }
            fault @ (Fault::Refused { .. } | Fault::TooMuch { .. }) => {
                Self::Refused { image: image.to_owned(), reason: presentable(fault.to_string()) }
            }
        }
    }
}

/// Longest part of a message that a registry has a say in, in characters.
const MAX_TOLD: usize = 500;

/// Text that a registry has a say in, fit to be shown: of bounded length, on one line, without control characters.
fn presentable(text: String) -> String {
    if text.len() <= MAX_TOLD && !text.contains(char::is_control) {
        return text;
    }
    let mut shown: String =
        text.chars().take(MAX_TOLD).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MAX_TOLD).is_some() {
        shown.push('…');
    }
    shown
}

/// Asks registries.
pub struct RegistryClient {
    transport: Transport,
    registries: BTreeMap<String, Registry>,
    rests: Rests,
    pace: Pace,
    memory: Arc<dyn Memory>,
    clock: SharedClock,
    /// Images that are being asked for whole: who asks for the same waits, and hears the same.
    anew: Mutex<BTreeMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryClient").field("registries", &self.registries.keys()).finish_non_exhaustive()
    }
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
            for name in [name].into_iter().chain(&registry.mirror) {
                let known = registry_of(&settings.registries, name);
                let plain = known.is_some_and(|registry| registry.insecure);
                let Ok(base) = base_of(name, plain) else { continue };
                if plain {
                    insecure.insert(endpoint(&base));
                }
                named.insert(endpoint(&base));
            }
        }
        let Deadlines { connect, idle, total } = settings.deadlines;
        let slow = connect.min(idle).min(total);
        let (rests, pace) = (Rests::new(slow, total), Pace::new(slow));
        let transport =
            Transport::new(named, insecure, settings.loopback, settings.deadlines, settings.proxy.as_ref())?;
        let registries = settings.registries;
        let (memory, clock) = (Arc::new(Forgetful), SystemClock::shared());
        Ok(Self { transport, registries, rests, pace, memory, clock, anew: Mutex::default() })
    }

    /// One that remembers what registries said, and goes by this clock.
    #[must_use]
    pub fn with_memory(self, memory: Arc<dyn Memory>, clock: SharedClock) -> Self {
        Self { memory, clock, ..self }
    }

    /// What the image's registry says about it: its mirror is asked first, and the registry itself where that has
    /// nothing to say.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn image(&self, image: &ImageRef, asker: Asker<'_>) -> Result<ImageFacts, RegistryError> {
        self.image_seen(image, asker, true).await
    }

    /// The same of an image that is named by its digest, and every part of an index is asked for: whether all of it is still
    /// there. What was heard of it at `since` or later, for whichever release, is heard again.
    pub async fn image_anew(
        &self,
        image: &ImageRef,
        digest: Digest,
        since: Timestamp,
        asker: Asker<'_>,
    ) -> Heard {
        let place = Place::of(image);
        let mirror = registry_of(&self.registries, &place.registry).and_then(|known| known.mirror.as_deref());
        // Both may have a login that is not for everybody.
        let of_mirror = mirror.map(|mirror| self.whose(mirror, asker)).unwrap_or_default();
        let repository = format!("{of_mirror}{}{}", self.whose(&place.registry, asker), place.full_name());
        let turn = self.turn(format!("{repository}@{digest}"));
        let _turn = turn.lock().await;
        if let Some(part) = self.memory.part(&repository, digest, since).await
            && let Ok(Part::Image(heard)) = serde_json::from_str(&part)
            && heard.at >= since
        {
            return *heard;
        }
        let at = self.clock.now();
        let heard = Heard { at, answer: self.image_seen(image, asker, false).await };
        // What our own rules say may be otherwise after a restart.
        if !matches!(heard.answer, Err(RegistryError::NoAnswer { .. } | RegistryError::Refused { .. })) {
            let part = Part::Image(Box::new(heard.clone()));
            let written =
                serde_json::to_string(&part).expect("an answer has no map whose keys are not texts");
            self.memory.keep(&repository, vec![(digest, written)], at).await;
        }
        heard
    }

    /// What is held by who asks for this image whole.
    fn turn(&self, image: String) -> Arc<tokio::sync::Mutex<()>> {
        let mut anew = self.anew.lock().unwrap_or_else(PoisonError::into_inner);
        anew.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = anew.get(&image).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        anew.insert(image, Arc::downgrade(&turn));
        turn
    }

    async fn image_seen(
        &self,
        image: &ImageRef,
        asker: Asker<'_>,
        lately: bool,
    ) -> Result<ImageFacts, RegistryError> {
        let place = Place::of(image);
        let mirror =
            registry_of(&self.registries, &place.registry).and_then(|registry| registry.mirror.as_deref());
        if let Some(mirror) = mirror {
            let mirror = Place { registry: mirror.to_owned(), ..place.clone() };
            match self.ask(mirror, image, asker, lately).await {
                Ok(facts) => return Ok(facts),
                Err(error) => {
                    tracing::debug!(image.reference = %image, %error, "the mirror has nothing to say");
                }
            }
        }
        let facts = self.ask(place, image, asker, lately).await;
        let outcome = match &facts {
            Ok(_) => "found",
            Err(RegistryError::NotFound { .. }) => "not_found",
            Err(RegistryError::Denied { .. }) => "denied",
            Err(RegistryError::Invalid { .. } | RegistryError::Incomplete { .. }) => "invalid",
            Err(RegistryError::Refused { .. }) => "refused",
            Err(RegistryError::NoAnswer { .. }) => "no_answer",
        };
        metrics::counter!("marketplace_images_asked_total", "outcome" => outcome).increment(1);
        facts
    }

    async fn ask(
        &self,
        place: Place,
        image: &ImageRef,
        asker: Asker<'_>,
        lately: bool,
    ) -> Result<ImageFacts, RegistryError> {
        let host = place.registry.clone();
        let session = self.session(place, image, asker, lately)?;
        let now = self.clock.now();
        if let Some(until) = self.memory.pause(&host).await {
            self.pace.heard(&host, until, now);
        }
        if let Some(left) = self.pace.left(&host, now).filter(|_| !asker.at_once) {
            return Err(left_alone(&host, left));
        }
        let question = self.rests.begin(&host, asker.at_once, Instant::now()).map_err(|rest| {
            RegistryError::NoAnswer {
                host: host.clone(),
                reason: format!(
                    "it did not answer in time lately, and is left alone for {} s",
                    rest.as_secs() + 1
                ),
                retry_after: Some(Wait::For(rest)),
            }
        })?;
        let facts = session.facts().await;
        question.end(facts.as_ref().is_err_and(RegistryError::is_no_answer), Instant::now());
        session.remember().await;
        match &facts {
            Ok(_) => self.pace.answered(&host),
            // One that was met by a pause tells nothing new.
            Err(RegistryError::NoAnswer { retry_after: Some(wait), .. }) => {
                let now = self.clock.now();
                let until = self.pace.pause(&host, wait.from(now), now);
                tracing::info!(registry = host, %until, "the registry wants to be left alone");
                self.memory.keep_pause(&host, until).await;
            }
            Err(_) => (),
        }
        facts
    }

    /// What stands before a repository's name where it is remembered what it serves: what a limited login shows is for those
    /// alone for whom it is, and nothing of before it was limited is for anybody. No repository's name has an `@`.
    fn whose(&self, registry: &str, asker: Asker<'_>) -> String {
        match registry_of(&self.registries, registry) {
            Some(known) if known.is_limited() => {
                format!("{}@", known.login(asker).map_or("", |login| &login.user))
            }
            _ => String::new(),
        }
    }

    fn session(
        &self,
        place: Place,
        image: &ImageRef,
        asker: Asker<'_>,
        lately: bool,
    ) -> Result<Session<'_>, RegistryError> {
        let registry = registry_of(&self.registries, &place.registry);
        let plain = registry.is_some_and(|registry| registry.insecure);
        let base = base_of(&place.registry, plain).map_err(|_| RegistryError::Invalid {
            image: image.to_string(),
            reason: format!("names a registry that is no host: {}", place.registry),
        })?;
        let credentials = registry.and_then(|registry| registry.login(asker));
        let remembered = format!("{}{}", self.whose(&place.registry, asker), place.full_name());
        let asking = Asking {
            transport: &self.transport,
            pace: &self.pace,
            memory: &*self.memory,
            clock: &self.clock,
            credentials,
            remembered,
            at_once: asker.at_once,
            lately,
        };
        Ok(Session::new(asking, base, place, image))
    }
}

/// What is said of a registry that is not asked because it wants to be left alone.
fn left_alone(host: &str, left: Duration) -> RegistryError {
    RegistryError::NoAnswer {
        host: host.to_owned(),
        reason: format!(
            "it answered 429 or with Retry-After lately, and is left alone for {} s more, as it wants",
            left.as_millis().div_ceil(1000)
        ),
        retry_after: Some(Wait::For(left)),
    }
}

/// What the configuration says about a registry.
fn registry_of<'a>(registries: &'a BTreeMap<String, Registry>, name: &str) -> Option<&'a Registry> {
    registries.get(&find_key(registries, name, |registry| registry.insecure)?)
}

/// Where a registry's API begins.
fn base_of(registry: &str, insecure: bool) -> Result<Url, url::ParseError> {
    let scheme = if insecure { "http" } else { "https" };
    Url::parse(&format!("{scheme}://{}/v2/", address::api_host(registry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_registry_at_its_schemes_own_port_is_one_however_it_is_written() {
        let second = Duration::from_secs(1);
        // (what the configuration names, in plain http, what the image says)
        for (named, insecure, image) in [
            ("127.0.0.1:80", true, "127.0.0.1:80/a:1"),
            ("127.0.0.1", true, "127.0.0.1:80/a:1"),
            ("127.0.0.1:80", true, "127.0.0.1/a:1"),
            ("127.0.0.1:443", false, "127.0.0.1:443/a:1"),
            ("127.0.0.1", false, "127.0.0.1:443/a:1"),
            ("127.0.0.1:443", false, "127.0.0.1/a:1"),
        ] {
            let credentials = Some(Credentials { user: "me".to_owned(), password: "x".to_owned().into() });
            let registry = Registry { insecure, credentials, ..Registry::default() };
            let client = RegistryClient::new(Settings {
                registries: BTreeMap::from([(named.to_owned(), registry)]),
                loopback: true,
                deadlines: Deadlines { connect: second, idle: second, total: second },
                proxy: None,
            })
            .unwrap();
            let known = registry_of(&client.registries, image.split('/').next().unwrap());
            assert!(known.is_some_and(|registry| registry.credentials.is_some()), "{named} {image}");
            // Whatever listens there or not: it is asked.
            let error = client.image(&image.parse().unwrap(), Asker::default()).await.unwrap_err();
            assert!(!matches!(error, RegistryError::Refused { .. }), "{named} {image}: {error}");
        }
    }

    #[test]
    fn a_login_is_for_whom_and_what_it_is_limited_to() {
        let credentials = || Some(Credentials { user: "me".to_owned(), password: "x".to_owned().into() });
        let (paul, acme) = (vec!["paul".to_owned()], vec![NamePattern::new("acme-*").unwrap()]);
        let all = Registry { credentials: credentials(), ..Registry::default() };
        let of_paul = Registry { publishers: paul, ..all.clone() };
        let of_acme = Registry { addons: acme, ..all.clone() };
        let of_both = Registry { publishers: of_paul.publishers.clone(), ..of_acme.clone() };
        assert!(!all.is_limited() && [&of_paul, &of_acme, &of_both].iter().all(|one| one.is_limited()));
        for (publisher, addon, expected) in [
            ("paul", "acme-x", [true, true, true, true]),
            ("Paul", "probe", [true, true, false, false]),
            ("mary", "Acme_x", [true, false, true, false]),
            ("mary", "probe", [true, false, false, false]),
        ] {
            let asker = Asker { publisher, addon, at_once: false };
            let given = [&all, &of_paul, &of_acme, &of_both].map(|one| one.login(asker).is_some());
            assert_eq!(given, expected, "{publisher} {addon}");
        }
    }

    #[test]
    fn what_a_registry_says_is_shown_short_and_harmless() {
        assert_eq!(presentable("is no image".to_owned()), "is no image");
        assert_eq!(presentable("a\u{1b}[31m\nb".to_owned()), "a\u{fffd}[31m\u{fffd}b");
        let long = presentable("é".repeat(100_000));
        assert_eq!(long.chars().count(), MAX_TOLD + 1);
    }
}
