//! Pulling by digest: once for all who ask, a few at a time, with progress by bytes, two deadlines and an eye on the disk.
//!
//! A pull that nobody waits for any more is dropped; that closes the call, which makes the engine give up.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{Semaphore, mpsc, watch};

use super::errors::{Asked, Failure};
use super::logins::credentials;
use super::{Inner, compare, disk, inspect};
use crate::domain::specification::PinnedImage;
use crate::runtime::{ChangeNeeded, InspectedImage, PullProgress, RuntimeError};

/// How images are pulled.
#[derive(Debug, Clone)]
pub struct PullSettings {
    /// Pulls at one time; others wait for their turn. At least 1.
    pub parallel: usize,
    /// Longest time without a word from the engine.
    pub idle: Duration,
    /// Longest time in all, from its turn on.
    pub total: Duration,
    /// Bytes of the engine's disk that pulls leave alone (`disk.reserve`).
    pub disk_reserve_bytes: u64,
    /// How often the disk is looked at meanwhile.
    pub disk_interval: Duration,
}

impl Default for PullSettings {
    fn default() -> Self {
        Self {
            parallel: 3,
            idle: Duration::from_secs(60),
            total: Duration::from_secs(3600),
            disk_reserve_bytes: 2 * 1024 * 1024 * 1024,
            disk_interval: Duration::from_millis(500),
        }
    }
}

type Flight = Shared<BoxFuture<'static, Result<InspectedImage, RuntimeError>>>;
/// One that ends when nobody waits for it, and how far it is.
type UnderWay =
    (WeakShared<BoxFuture<'static, Result<InspectedImage, RuntimeError>>>, watch::Receiver<PullProgress>);
type Key = (String, String, Option<String>);

/// The pulls that are under way.
pub(super) struct Pulls {
    permits: Semaphore,
    flights: Mutex<HashMap<Key, UnderWay>>,
}

impl Pulls {
    pub(super) fn new(parallel: usize) -> Self {
        Self { permits: Semaphore::new(parallel.max(1)), flights: Mutex::default() }
    }

    /// The flight for this image: the one under way, or a new one, which moves while somebody awaits it.
    fn join(&self, inner: &Arc<Inner>, image: &PinnedImage) -> (Flight, watch::Receiver<PullProgress>) {
        let key = (image.repository.clone(), image.digest.clone(), image.platform.clone());
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((flight, progress)) = flights.get(&key)
            && let Some(flight) = flight.upgrade()
            && flight.peek().is_none()
        {
            return (flight, progress.clone());
        }
        let (sender, receiver) =
            watch::channel(PullProgress { done_bytes: 0, total_bytes: image.bytes.unwrap_or(0) });
        let flight = fly(Arc::clone(inner), image.clone(), sender).boxed().shared();
        flights.retain(|_, (flight, _)| flight.upgrade().is_some());
        let weak = flight.downgrade().expect("a future that has not been polled has not ended");
        flights.insert(key, (weak, receiver.clone()));
        (flight, receiver)
    }
}

/// Pulls, or joins a pull of the same image. Progress is sent as long as there is room for it: a reader that is late gets the next one. What
/// is there already has none.
pub(super) async fn pull(
    inner: &Arc<Inner>,
    image: &PinnedImage,
    progress: mpsc::Sender<PullProgress>,
) -> Result<InspectedImage, RuntimeError> {
    let (mut flight, mut watched) = inner.pulls.join(inner, image);
    let mut transferred = false;
    loop {
        tokio::select! {
            outcome = &mut flight => {
                // Without a sender any more, an error says that nothing is new.
                if transferred || watched.has_changed().unwrap_or(false) {
                    let _ = progress.try_send(*watched.borrow());
                }
                return outcome;
            }
            Ok(()) = watched.changed() => {
                transferred = true;
                let _ = progress.try_send(*watched.borrow_and_update());
            }
        }
    }
}

async fn fly(
    inner: Arc<Inner>,
    image: PinnedImage,
    progress: watch::Sender<PullProgress>,
) -> Result<InspectedImage, RuntimeError> {
    let operation = format!("pull {}", image.reference);
    if let Some(present) = present(&inner, &image, &operation).await? {
        return Ok(present);
    }
    let _permit = inner.pulls.permits.acquire().await.expect("the semaphore is never closed");
    let total = inner.settings.pulls.total;
    match tokio::time::timeout(total, transfer(&inner, &image, &progress, &operation)).await {
        Ok(outcome) => outcome?,
        Err(_) => {
            let message = format!("not done within {total:?}");
            return Err(RuntimeError::Retry { operation, message, after: None, engine_unreachable: false });
        }
    }
    let reference = format!("{}@{}", image.repository, image.digest);
    let found =
        inner.raw_image(&reference).await.map_err(|failure| failure.into_error(&operation, Asked::Read))?;
    match found {
        Some(found) if compare::holds_pin(&found, &image.digest) => {
            Ok(inspect::image(&remember(&inner, found)))
        }
        _ => {
            let message = format!(
                "the engine says it has pulled it, and has no image with the digest {}",
                image.digest
            );
            Err(RuntimeError::Retry { operation, message, after: None, engine_unreachable: false })
        }
    }
}

/// Keeps what an image says of itself for the containers that are made of it.
fn remember(inner: &Inner, image: ImageInspect) -> Arc<ImageInspect> {
    let image = Arc::new(image);
    if let Some(id) = &image.id {
        inner.images.insert(id.clone(), Arc::clone(&image));
    }
    image
}

/// What a tag stands for in its registry: the digest of the index where there is one, else of the manifest.
pub(super) async fn registry_digest(
    inner: &Inner,
    repository: &str,
    tag: &str,
) -> Result<String, RuntimeError> {
    let operation = format!("look up {repository}:{tag} in its registry");
    let login = credentials(&inner.logins.current(), repository);
    let reference = format!("{repository}:{tag}");
    let answer = async {
        let client = inner.client()?;
        inner.within(inner.settings.timeouts.change, client.inspect_registry_image(&reference, login)).await
    };
    let found = answer.await.map_err(|failure: Failure| failure.into_error(&operation, Asked::Pull))?;
    found
        .descriptor
        .digest
        .ok_or_else(|| RuntimeError::Never { operation, message: "the registry names no digest".to_owned() })
}

/// The image, when the engine has it: then nothing is asked of the registry.
async fn present(
    inner: &Inner,
    image: &PinnedImage,
    operation: &str,
) -> Result<Option<InspectedImage>, RuntimeError> {
    let reference = format!("{}@{}", image.repository, image.digest);
    let found =
        inner.raw_image(&reference).await.map_err(|failure| failure.into_error(operation, Asked::Read))?;
    let Some(found) = found.filter(|found| compare::holds_pin(found, &image.digest)) else { return Ok(None) };
    let found = inspect::image(&remember(inner, found));
    let facts = inner.facts().await.map_err(|failure| failure.into_error(operation, Asked::Read))?;
    // One digest may be an index of several platforms, of which the engine has one.
    Ok(platform_fits(image.platform.as_deref(), &facts.platform, &found.platform).then_some(found))
}

/// Whether an image of platform `has` is the one to run. Nothing asked for: what the host runs by itself.
fn platform_fits(asked: Option<&str>, host: &str, has: &str) -> bool {
    let parts = |text: &str| {
        let mut parts = text.split('/').map(str::to_owned);
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next())
    };
    let (system, architecture, variant) = parts(has);
    let (wanted_system, wanted_architecture, wanted_variant) = parts(asked.unwrap_or(host));
    let runs = architecture == wanted_architecture
        || asked.is_none()
            && matches!(
                (wanted_architecture.as_str(), architecture.as_str()),
                ("amd64", "386") | ("arm64", "arm")
            );
    // An image that does not name its variant is taken for any.
    let variants =
        asked.is_none() || variant.is_none() || wanted_variant.is_none() || variant == wanted_variant;
    system == wanted_system && runs && variants
}

async fn transfer(
    inner: &Inner,
    image: &PinnedImage,
    progress: &watch::Sender<PullProgress>,
    operation: &str,
) -> Result<(), RuntimeError> {
    let settings = &inner.settings.pulls;
    let reserve = settings.disk_reserve_bytes;
    let no_room = |message| RuntimeError::WaitForChange {
        operation: operation.to_owned(),
        message,
        reason: ChangeNeeded::DiskFull,
    };
    let refused = |failure: Failure| {
        if failure.says("cannot overwrite digest") {
            let message = format!(
                "the engine has {} for another platform, and cannot hold one digest for two; remove that image, or ask for its platform",
                image.digest
            );
            return RuntimeError::WaitForChange {
                operation: operation.to_owned(),
                message,
                reason: ChangeNeeded::Configuration,
            };
        }
        failure.into_error(operation, Asked::Pull)
    };
    let facts = inner.facts().await.map_err(|failure| failure.into_error(operation, Asked::Read))?;
    let disk = disk::EngineDisk::of(&facts.root_dir, inner.settings.engine_is_local());
    let free_before = disk.free_bytes();
    if let Some(words) = disk::shortage(free_before, image.bytes.unwrap_or(0), reserve) {
        return Err(no_room(words));
    }

    progress.send_modify(|_| ());
    // `tag` takes a digest too; without one the engine would pull every tag.
    let options = CreateImageOptionsBuilder::new().from_image(&image.repository).tag(&image.digest);
    let options = options.platform(image.platform.as_deref().unwrap_or_default()).build();
    let docker = inner.client().map_err(refused)?;
    let login = credentials(&inner.logins.current(), &image.repository);
    let mut stream = docker.create_image(Some(options), None, login).boxed();
    let mut layers = Layers::new(image.bytes);
    let mut look = tokio::time::interval(settings.disk_interval);
    let idle = tokio::time::sleep(settings.idle);
    tokio::pin!(idle);
    loop {
        tokio::select! {
            item = stream.next() => match item {
                Some(Ok(line)) => {
                    idle.as_mut().reset(tokio::time::Instant::now() + settings.idle);
                    layers.note(&line);
                    progress.send_if_modified(|shown| {
                        let now = layers.progress();
                        std::mem::replace(shown, now) != now
                    });
                    // Without a size in the pin it comes out only now.
                    if image.bytes.is_none()
                        && let Some(words) = disk::shortage(free_before, layers.known_bytes(), reserve)
                    {
                        return Err(no_room(words));
                    }
                }
                Some(Err(error)) => return Err(refused(Failure::from(error))),
                None => break,
            },
            () = &mut idle => {
                let message = format!("nothing has moved for {:?}", settings.idle);
                return Err(RuntimeError::Retry { operation: operation.to_owned(), message, after: None, engine_unreachable: false });
            }
            _ = look.tick() => {
                if let Some(words) = disk::emergency(disk.free_bytes(), reserve) {
                    return Err(no_room(words));
                }
            }
        }
    }
    progress.send_modify(|shown| *shown = layers.finished());
    Ok(())
}

/// The layers of one pull. Bytes are compressed ones, as they come over the wire: that is what takes the time, and what the pin knows.
#[derive(Debug, Default)]
struct Layers {
    /// From the pin.
    expected: Option<u64>,
    layers: BTreeMap<String, Layer>,
    shown: u64,
}

#[derive(Debug, Default)]
struct Layer {
    /// Unknown until it begins to arrive, and for ever where it was there already or so small that it arrived at once.
    bytes: Option<u64>,
    arrived: u64,
    complete: bool,
}

impl Layers {
    fn new(expected: Option<u64>) -> Self {
        Self { expected, ..Self::default() }
    }

    fn note(&mut self, line: &CreateImageInfo) {
        let (Some(id), Some(status)) = (&line.id, line.status.as_deref()) else { return };
        let detail = line.progress_detail.as_ref();
        let count =
            |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0);
        match status {
            "Pulling fs layer" | "Waiting" => {
                self.layers.entry(id.clone()).or_default();
            }
            "Downloading" => {
                let layer = self.layers.entry(id.clone()).or_default();
                layer.bytes = count(detail.and_then(|detail| detail.total)).or(layer.bytes);
                layer.arrived = count(detail.and_then(|detail| detail.current)).unwrap_or(0);
            }
            "Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete"
            | "Already exists" => {
                self.layers.entry(id.clone()).or_default().complete = true;
            }
            _ => (),
        }
    }

    /// Bytes of the layers whose size is known.
    fn known_bytes(&self) -> u64 {
        self.layers.values().filter_map(|layer| layer.bytes).sum()
    }

    /// Layers of unknown size share evenly what the pin says beyond the known ones. Never goes back: a layer that is tried again does.
    fn progress(&mut self) -> PullProgress {
        let known = self.known_bytes();
        let total = self.expected.unwrap_or(0).max(known);
        let unknown = self.layers.values().filter(|layer| layer.bytes.is_none()).count() as u64;
        let share = (total - known).checked_div(unknown).unwrap_or(0);
        let done: u64 = self
            .layers
            .values()
            .map(|layer| match (layer.complete, layer.bytes) {
                (true, bytes) => bytes.unwrap_or(share),
                (false, Some(bytes)) => layer.arrived.min(bytes),
                (false, None) => 0,
            })
            .sum();
        self.shown = self.shown.max(done.min(total));
        PullProgress { done_bytes: self.shown, total_bytes: total }
    }

    /// Everything has arrived.
    fn finished(&mut self) -> PullProgress {
        let total_bytes = self.progress().total_bytes;
        PullProgress { done_bytes: total_bytes, total_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    fn line(id: &str, status: &str, current: i64, total: i64) -> CreateImageInfo {
        let progress_detail =
            (total > 0).then_some(ProgressDetail { current: Some(current), total: Some(total) });
        CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail,
            error_detail: None,
        }
    }

    #[test]
    fn layers_are_weighed_by_their_bytes() {
        let mut layers = Layers::new(Some(1000));
        layers.note(&line("sha256:00", "Pulling from library/x", 0, 0));
        for id in ["a", "b", "c"] {
            layers.note(&line(id, "Pulling fs layer", 0, 0));
        }
        assert_eq!(layers.progress(), PullProgress { done_bytes: 0, total_bytes: 1000 });
        layers.note(&line("a", "Downloading", 450, 900));
        assert_eq!(layers.progress(), PullProgress { done_bytes: 450, total_bytes: 1000 });
        // Too small for a line of its own: half of the 100 bytes that nothing is known of.
        layers.note(&line("b", "Download complete", 0, 0));
        assert_eq!(layers.progress(), PullProgress { done_bytes: 500, total_bytes: 1000 });
        layers.note(&line("c", "Already exists", 0, 0));
        layers.note(&line("a", "Extracting", 10, 900));
        assert_eq!(layers.progress(), PullProgress { done_bytes: 1000, total_bytes: 1000 });
    }

    #[test]
    fn progress_never_goes_back_and_needs_no_pin() {
        let mut layers = Layers::new(None);
        layers.note(&line("a", "Downloading", 80, 100));
        assert_eq!(layers.progress(), PullProgress { done_bytes: 80, total_bytes: 100 });
        layers.note(&line("a", "Downloading", 10, 100));
        assert_eq!(layers.progress(), PullProgress { done_bytes: 80, total_bytes: 100 });
        assert_eq!(layers.finished(), PullProgress { done_bytes: 100, total_bytes: 100 });
    }

    #[test]
    fn a_pin_that_says_too_little_gives_way() {
        let mut layers = Layers::new(Some(10));
        layers.note(&line("a", "Downloading", 50, 100));
        assert_eq!(layers.progress(), PullProgress { done_bytes: 50, total_bytes: 100 });
    }

    #[test]
    fn what_the_host_runs_by_itself_fits() {
        let table = [
            (None, "linux/amd64", "linux/amd64", true),
            (None, "linux/amd64", "linux/386", true),
            (None, "linux/amd64", "linux/arm64", false),
            (None, "linux/arm64", "linux/arm64/v8", true),
            (None, "linux/arm64", "linux/arm/v7", true),
            (None, "linux/amd64", "windows/amd64", false),
            (Some("linux/arm64"), "linux/amd64", "linux/arm64/v8", true),
            (Some("linux/arm64"), "linux/amd64", "linux/amd64", false),
            (Some("linux/arm/v7"), "linux/arm64", "linux/arm/v6", false),
            (Some("linux/386"), "linux/amd64", "linux/amd64", false),
        ];
        for (asked, host, has, expected) in table {
            assert_eq!(platform_fits(asked, host, has), expected, "{asked:?} {host} {has}");
        }
    }
}
