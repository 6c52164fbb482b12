//! The questions about one image at one registry: which manifests, which platforms, and the login that they share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use addon_client::Timestamp;
use addon_descriptor::{Digest, ImageRef};
use base64::Engine as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use service_kit::clock::SharedClock;
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use super::address::Place;
use super::challenge::{Bearer, Challenge};
use super::config::{self, ImageConfig};
use super::manifest::{self, Index, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest, Outline};
use super::memory::{Memory, Part, SEEN_LATELY};
use super::pace::Pace;
use super::platform::Platform;
use super::transport::{Answer, Transport, host_of};
use super::{Credentials, ImageFacts, PlatformFacts, RegistryError, Wait, left_alone, presentable};

/// Indexes inside an index that are followed, and none inside these: none is common, one is seen.
const MAX_INDEXES: usize = 8;
/// Most images that are looked at, over an index and those inside it; the widest public ones have some forty.
const MAX_IMAGES: usize = 64;
/// Platforms that one remark names.
const MAX_NAMED: usize = 8;
/// Manifests of one index that are asked for at once.
const PARALLEL: usize = 4;
/// Largest answer of a token service, in bytes.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// The questions about one image at one registry; they share a login.
pub(super) struct Session<'a> {
    asking: Asking<'a>,
    base: Url,
    place: Place,
    image: String,
    login: Mutex<Option<Login>>,
    gate: Arc<Semaphore>,
    /// What was read by digest, to be remembered.
    learnt: Mutex<Vec<(Digest, String)>>,
}

/// By what means, and how, a registry is asked.
pub(super) struct Asking<'a> {
    pub(super) transport: &'a Transport,
    pub(super) pace: &'a Pace,
    pub(super) memory: &'a dyn Memory,
    pub(super) clock: &'a SharedClock,
    pub(super) credentials: Option<&'a Credentials>,
    /// What the repository is called where it is remembered what it serves.
    pub(super) remembered: String,
    /// Also while the registry wants to be left alone.
    pub(super) at_once: bool,
    /// What an index lists need not be asked for if it was seen lately.
    pub(super) lately: bool,
}

/// A manifest as it was served.
struct Fetched {
    digest: Digest,
    bytes: usize,
    manifest: Manifest,
}

/// One image of an index, and each platform that it is listed for; `None` where an entry does not say.
struct Listed {
    digest: Digest,
    bytes: u64,
    platforms: BTreeSet<Option<Platform>>,
}

/// What a host accepted, and nobody else is shown.
#[derive(Clone)]
struct Login {
    host: String,
    authorization: HeaderValue,
}

/// A token service names it one way or the other, or both for older clients, as Docker Hub's does.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct ErrorDocument {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: String,
}

impl<'a> Session<'a> {
    pub(super) fn new(asking: Asking<'a>, base: Url, place: Place, image: &ImageRef) -> Self {
        let gate = asking.pace.gate(&place.registry, asking.clock.now());
        let (login, learnt) = (Mutex::default(), Mutex::default());
        Self { asking, base, place, image: image.to_string(), login, gate, learnt }
    }

    /// Remembers what was read.
    pub(super) async fn remember(&self) {
        let learnt = std::mem::take(&mut *self.learnt());
        if !learnt.is_empty() {
            self.asking.memory.keep(&self.asking.remembered, learnt, self.asking.clock.now()).await;
        }
    }

    fn learnt(&self) -> MutexGuard<'_, Vec<(Digest, String)>> {
        self.learnt.lock().expect("no holder of the lock can panic")
    }

    fn learn(&self, digest: Digest, part: &Part) {
        let written = serde_json::to_string(part).expect("a part has no map whose keys are not texts");
        self.learnt().push((digest, written));
    }

    /// What is remembered of a digest in this repository.
    async fn recall(&self, digest: Digest, since: Timestamp) -> Option<Part> {
        let part = self.asking.memory.part(&self.asking.remembered, digest, since).await?;
        serde_json::from_str(&part).ok()
    }

    /// What the registry says about the image.
    pub(super) async fn facts(&self) -> Result<ImageFacts, RegistryError> {
        let Fetched { digest, manifest, .. } = self.manifest(&self.place.reference).await?;
        let (mut platforms, mut remarks) = (Vec::new(), Vec::new());
        match manifest {
            Manifest::Image { config, bytes, layers } => {
                let (platform, image) = self.config(config).await?;
                platforms.push(PlatformFacts { platform, manifest: digest, config, bytes, layers, image });
            }
            Manifest::Index(index) => {
                let (listed, left_out) = self.listed(index).await?;
                let found: Vec<Vec<PlatformFacts>> =
                    stream::iter(listed.into_iter().map(|one| self.entry(one)))
                        .buffered(PARALLEL)
                        .try_collect()
                        .await?;
                platforms.extend(found.into_iter().flatten());
                if left_out > 0 {
                    remarks.push(format!("{left_out} of its entries are for unknown platforms and left out"));
                }
            }
            Manifest::Other(kind) => return Err(self.no_image(&kind)),
        }
        platforms.sort_by(|a, b| (&a.platform, a.manifest).cmp(&(&b.platform, b.manifest)));
        platforms.dedup_by(|a, b| (&a.platform, a.manifest) == (&b.platform, b.manifest));
        if platforms.is_empty() {
            return Err(self.invalid("has an index without any image".to_owned()));
        }
        remarks.extend(doubles(&platforms));
        Ok(ImageFacts { digest, platforms, remarks })
    }

    /// The images that an index lists, by itself and through indexes inside it, each once; and how many entries are left
    /// out. How much is asked for is bounded here: who pushes an index decides what it lists, and how often.
    async fn listed(&self, index: Index) -> Result<(Vec<Listed>, usize), RegistryError> {
        let mut left_out = index.left_out;
        let (indexes, mut entries): (Vec<_>, Vec<_>) =
            index.entries.into_iter().partition(|entry| entry.is_index);
        let indexes: BTreeSet<(Digest, u64)> =
            indexes.into_iter().map(|entry| (entry.digest, entry.bytes)).collect();
        if indexes.len() > MAX_INDEXES {
            return Err(self.invalid(format!("has more than {MAX_INDEXES} indexes inside its index")));
        }
        for (digest, bytes) in indexes {
            match self.part(digest, bytes, None).await? {
                Manifest::Index(inner) if inner.entries.iter().any(|entry| entry.is_index) => {
                    return Err(self.invalid("has indexes inside indexes inside an index".to_owned()));
                }
                Manifest::Index(inner) => {
                    left_out += inner.left_out;
                    entries.extend(inner.entries);
                }
                _ => return Err(self.invalid(format!("lists {digest} as an index, which it is not"))),
            }
        }
        let (mut listed, mut count): (Vec<Listed>, usize) = (Vec::new(), 0);
        for entry in entries {
            let at = listed.iter().position(|one| one.digest == entry.digest && one.bytes == entry.bytes);
            let at = at.unwrap_or_else(|| {
                listed.push(Listed { digest: entry.digest, bytes: entry.bytes, platforms: BTreeSet::new() });
                listed.len() - 1
            });
            count += usize::from(listed[at].platforms.insert(entry.platform));
            if count > MAX_IMAGES {
                return Err(self.invalid(format!("lists more than {MAX_IMAGES} images")));
            }
        }
        Ok((listed, left_out))
    }

    /// What one image of an index is, for each platform that it is listed for; nothing where it is listed for none and is
    /// no image.
    async fn entry(&self, listed: Listed) -> Result<Vec<PlatformFacts>, RegistryError> {
        let Listed { digest: manifest, bytes, platforms } = listed;
        let now = self.asking.clock.now();
        let lately =
            Timestamp::from_millis(now.millis() - i64::try_from(SEEN_LATELY.as_millis()).unwrap_or(i64::MAX));
        let seen = if self.asking.lately { self.recall(manifest, lately).await } else { None };
        let platform = platforms.iter().flatten().next();
        let (config, bytes, layers) = match seen {
            Some(Part::Manifest { config, bytes, layers }) => (config, bytes, layers),
            _ => match self.part(manifest, bytes, platform).await? {
                Manifest::Image { config, bytes, layers } => {
                    self.learn(manifest, &Part::Manifest { config, bytes, layers });
                    (config, bytes, layers)
                }
                Manifest::Index(_) => {
                    return Err(self.invalid(format!("lists {manifest} as an image, which it is not")));
                }
                Manifest::Other(_) if platform.is_none() => return Ok(Vec::new()),
                Manifest::Other(kind) => return Err(self.no_image(&kind)),
            },
        };
        let (own, image) = self.config(config).await?;
        let mut found = Vec::with_capacity(platforms.len());
        for platform in platforms {
            let platform = platform.unwrap_or_else(|| own.clone());
            // Hosts choose by the index, and would get something else.
            if !platform.is_like(&own) {
                return Err(self.invalid(format!(
                    "lists {manifest} for {platform}, and its configuration is for {own}"
                )));
            }
            let image = image.clone();
            found.push(PlatformFacts { platform, manifest, config, bytes, layers, image });
        }
        Ok(found)
    }

    /// Fetches a manifest that an index lists, with the size that it has by the index.
    async fn part(
        &self,
        digest: Digest,
        bytes: u64,
        platform: Option<&Platform>,
    ) -> Result<Manifest, RegistryError> {
        let fetched = self.manifest(&digest.to_string()).await.map_err(|error| match error {
            // The image itself is there: its index has been read.
            RegistryError::NotFound { registry, .. } => {
                let whose = platform.map(|platform| format!(" for {platform}")).unwrap_or_default();
                self.incomplete(format!("lists the manifest {digest}{whose}, which {registry} does not have"))
            }
            error => error,
        })?;
        if fetched.bytes as u64 != bytes {
            let found = fetched.bytes;
            return Err(self.invalid(format!(
                "lists the manifest {digest} with {bytes} bytes, and it has {found}: engines do not take it"
            )));
        }
        Ok(fetched.manifest)
    }

    /// Fetches a manifest by tag or digest, and holds it to every digest it is called by.
    async fn manifest(&self, reference: &str) -> Result<Fetched, RegistryError> {
        let answer =
            self.ask(&format!("manifests/{reference}"), manifest::ACCEPT, MAX_MANIFEST_BYTES).await?;
        let digest = Digest::of(&answer.body);
        let claimed = answer.headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
        let asked = reference.parse::<Digest>().ok();
        let claimed = claimed.and_then(|text| text.parse::<Digest>().ok());
        let vouched = [asked, claimed].contains(&Some(digest));
        match manifest::outline(&answer.body) {
            Outline::CutShort if !vouched => {
                return Err(no_answer(&answer, "its answer ends before it is whole".to_owned()));
            }
            Outline::Foreign if !vouched && !speaks_of_manifests(&answer) => {
                return Err(no_answer(&answer, not_as_a_registry(&answer)));
            }
            _ => (),
        }
        if let Some(other) = asked.into_iter().chain(claimed).find(|called| *called != digest) {
            return Err(
                self.invalid(format!("is served wrongly: the registry calls {other} what is {digest}"))
            );
        }
        let manifest = manifest::read(&answer.body).map_err(|reason| self.invalid(reason))?;
        let kind = content_type(&answer);
        if !manifest.goes_by(kind) {
            return Err(self.invalid(format!("is served as {kind}, which it is not")));
        }
        Ok(Fetched { digest, bytes: answer.body.len(), manifest })
    }

    /// Fetches an image's configuration.
    async fn config(&self, digest: Digest) -> Result<(Platform, ImageConfig), RegistryError> {
        if let Some(Part::Config { platform, image }) = self.recall(digest, Timestamp::from_millis(0)).await {
            return Ok((platform, *image));
        }
        let answer = self.ask(&format!("blobs/{digest}"), "*/*", MAX_CONFIG_BYTES).await;
        let answer = answer.map_err(|error| match error {
            RegistryError::NotFound { registry, .. } => {
                self.incomplete(format!("names the configuration {digest}, which {registry} does not have"))
            }
            error => error,
        })?;
        if Digest::of(&answer.body) != digest {
            // A page of a gateway, or the beginning of what was asked for.
            if serde_json::from_slice::<serde::de::IgnoredAny>(&answer.body).is_err() {
                return Err(no_answer(&answer, not_as_a_registry(&answer)));
            }
            return Err(self.invalid(format!("is served wrongly: its configuration is not {digest}")));
        }
        let (platform, image) = config::read(&answer.body).map_err(|reason| self.invalid(reason))?;
        self.learn(digest, &Part::Config { platform: platform.clone(), image: Box::new(image.clone()) });
        Ok((platform, image))
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
        if answer.status != StatusCode::OK {
            return Err(self.refusal(&answer));
        }
        match answer.headers.get(CONTENT_ENCODING) {
            Some(encoding) if encoding != "identity" => {
                let reason = "it answers in an encoding that it was not asked for".to_owned();
                Err(no_answer(&answer, reason))
            }
            _ => Ok(answer),
        }
    }

    async fn send(
        &self,
        url: &Url,
        accept: &'static str,
        login: Option<&Login>,
        max_bytes: usize,
    ) -> Result<Answer, RegistryError> {
        let login = login.filter(|login| login.host == host_of(url));
        let _turn = self.turn().await?;
        let answer =
            self.asking.transport.get(url, accept, login.map(|login| &login.authorization), max_bytes).await;
        let answer = answer.map_err(|fault| RegistryError::of(&self.image, fault));
        let status = answer.as_ref().map_or(0, |answer| answer.status.as_u16());
        metrics::counter!("marketplace_registry_requests_total", "status" => class_of(status)).increment(1);
        answer
    }

    /// Waits until there is room for a request; there is none while the registry wants to be left alone, as another
    /// question may have been told meanwhile.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, RegistryError> {
        let turn = self.gate.acquire().await.expect("the gate is never closed");
        match self.asking.pace.left(&self.place.registry, self.asking.clock.now()) {
            Some(left) if !self.asking.at_once => Err(left_alone(&self.place.registry, left)),
            _ => Ok(turn),
        }
    }

    /// What answers the challenge of a 401; `None` where it brings none that can be met.
    async fn log_in(&self, answer: &Answer) -> Result<Option<Login>, RegistryError> {
        let host = host_of(&answer.url);
        let credentials = self.asking.credentials.filter(|_| answer.url.origin() == self.base.origin());
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
        bearer.check_realm(registry, credentials.is_some()).map_err(|reason| RegistryError::Refused {
            image: self.image.clone(),
            reason: presentable(reason),
        })?;
        let fault = |fault| RegistryError::of(&self.image, fault);
        self.asking.transport.check_step(registry, &bearer.realm).map_err(fault)?;
        let mut realm = bearer.realm.clone();
        {
            let mut query = realm.query_pairs_mut();
            if let Some(service) = &bearer.service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", &bearer.scope_for(&self.place.repository));
        }
        let login = credentials.map(basic);
        let _turn = self.turn().await?;
        let answer =
            self.asking.transport.get(&realm, "application/json", login.as_ref(), MAX_TOKEN_BYTES).await;
        let answer = answer.map_err(fault)?;
        match answer.status.as_u16() {
            200 => (),
            // Whatever a token service does not find or understand, it says nothing about the image.
            status @ (400 | 404) => {
                return Err(no_answer(&answer, format!("it was asked for a token and answers {status}")));
            }
            // Whoever refuses a token does not say it in a registry's words.
            401 | 403 => return Err(self.denied()),
            _ => return Err(self.refusal(&answer)),
        }
        let token = serde_json::from_slice::<Token>(&answer.body).ok();
        let token = token.map(|token| [token.token, token.access_token]).into_iter().flatten().flatten();
        let token = token.into_iter().find(|token| !token.is_empty());
        let header = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let mut header = header.ok_or_else(|| {
            no_answer(&answer, "it was asked for a token and answered something else".to_owned())
        })?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Sorts an answer that is no success. Only what a registry says in a registry's words is an answer: a gateway in
    /// front of a stopped registry says 404 as well.
    fn refusal(&self, answer: &Answer) -> RegistryError {
        let (image, registry) = (self.image.clone(), self.place.registry.clone());
        let document = serde_json::from_slice::<ErrorDocument>(&answer.body).ok();
        let code =
            document.as_ref().and_then(|document| document.errors.first()).map(|error| error.code.as_str());
        let speaks = code.is_some()
            || answer.headers.contains_key("docker-distribution-api-version")
            || answer.headers.contains_key(WWW_AUTHENTICATE);
        match answer.status.as_u16() {
            404 if speaks => RegistryError::NotFound { image, registry },
            401 | 403 if speaks => self.denied(),
            400 if speaks => {
                let code = code.filter(|code| is_code(code)).unwrap_or("a malformed request");
                let reason = format!("is refused by {registry}: {code}");
                RegistryError::Invalid { image, reason }
            }
            status => {
                let reason = match status {
                    429 => "it has been asked too often (429)".to_owned(),
                    500.. => format!("it is in trouble ({status})"),
                    _ => format!("it answers {status}, but not as a registry does"),
                };
                no_answer(answer, reason)
            }
        }
    }

    fn denied(&self) -> RegistryError {
        let registry = self.place.registry.clone();
        RegistryError::Denied { image: self.image.clone(), reason: self.what_to_do(), registry }
    }

    fn what_to_do(&self) -> String {
        let key = &self.place.registry;
        match self.asking.credentials {
            Some(_) => format!(
                "refuses the credentials of [registries.\"{key}\"], or they may not read this repository, or it does not exist"
            ),
            None => format!(
                "wants a login, or has no such repository; make it public, or configure [registries.\"{key}\"] with user and password_file"
            ),
        }
    }

    fn invalid(&self, reason: String) -> RegistryError {
        RegistryError::Invalid { image: self.image.clone(), reason: presentable(reason) }
    }

    fn incomplete(&self, reason: String) -> RegistryError {
        RegistryError::Incomplete { image: self.image.clone(), reason: presentable(reason) }
    }

    fn no_image(&self, kind: &str) -> RegistryError {
        self.invalid(format!("is no container image: its configuration is of type {kind:?}"))
    }
}

/// What is odd about a platform's being there more than once; sorted by platform.
fn doubles(platforms: &[PlatformFacts]) -> Option<String> {
    let mut doubled: Vec<String> = platforms
        .windows(2)
        .filter(|pair| pair[0].platform == pair[1].platform)
        .map(|pair| pair[0].platform.to_string())
        .collect();
    doubled.dedup();
    let more = doubled.len().saturating_sub(MAX_NAMED);
    doubled.truncate(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = doubled.join(", ");
    (!doubled.is_empty())
        .then(|| format!("it has more than one image for {names}{more}, of which an engine takes one"))
}

/// An answer that tells nothing about the image.
fn no_answer(answer: &Answer, reason: String) -> RegistryError {
    let too_often = (answer.status == StatusCode::TOO_MANY_REQUESTS).then_some(Wait::AWhile);
    let retry_after = retry_after(answer).or(too_often);
    RegistryError::NoAnswer { host: host_of(&answer.url), reason, retry_after }
}

fn not_as_a_registry(answer: &Answer) -> String {
    let kind = content_type(answer);
    let kind = if kind.is_empty() { "nothing that says what it is" } else { kind };
    presentable(format!("it answers {} with {kind}, but not as a registry does", answer.status.as_u16()))
}

/// Whether an answer's head is that of a registry which serves a manifest.
fn speaks_of_manifests(answer: &Answer) -> bool {
    let kind = content_type(answer);
    answer.headers.contains_key("docker-distribution-api-version")
        || manifest::ACCEPT.split(", ").any(|known| known == kind)
}

/// The media type, without its parameters.
fn content_type(answer: &Answer) -> &str {
    let value = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Whether this is an error's name as the distribution specification has them: what else a registry writes there is
/// not shown.
fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
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
