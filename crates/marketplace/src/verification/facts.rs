//! Gathers what the checks need from outside. It asks and judges nothing.

use std::collections::BTreeMap;

use addon_client::{Pin, Timestamp};
use addon_descriptor::{AddonDescriptor, ImageRef};
use futures_util::{StreamExt as _, stream};

use super::registry::{Asker, Heard, ImageFacts, RegistryClient, RegistryError};

/// Images of one release that are asked for at once.
const PARALLEL: usize = 4;

/// What the registries said, by image as it is written.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Each image of the release, asked for once however many services use it.
    pub images: BTreeMap<String, Result<ImageFacts, RegistryError>>,
    /// When the oldest of these answers was given, where that may have been before they were asked for.
    pub since: Option<Timestamp>,
}

/// Asks for every image of a descriptor.
pub async fn gather(client: &RegistryClient, descriptor: &AddonDescriptor, asker: Asker<'_>) -> Facts {
    let images = descriptor
        .services
        .iter()
        .map(|service| (service.image.as_written().to_owned(), service.image.clone()))
        .collect();
    let images = ask(images, |image| async move { client.image(&image, asker).await }).await;
    Facts { images, since: None }
}

/// Asks for the images of an approved release by their pinned digests: whatever a tag names today, these are what
/// is installed. An answer that was given at `since` or later to whomever will do.
pub async fn gather_pinned(
    client: &RegistryClient,
    pins: &[Pin],
    since: Timestamp,
    asker: Asker<'_>,
) -> Facts {
    let pinned = pins
        .iter()
        .filter_map(|pin| {
            let image: ImageRef = pin.image.parse().ok()?;
            let by_digest: ImageRef = format!("{}@{}", image.name(), pin.digest).parse().ok()?;
            Some((pin.image.clone(), (by_digest, pin.digest)))
        })
        .collect();
    let question = |(image, digest)| async move { client.image_anew(&image, digest, since, asker).await };
    let heard: BTreeMap<String, Heard> = ask(pinned, question).await;
    let since = heard.values().map(|heard| heard.at).min();
    Facts { images: heard.into_iter().map(|(written, heard)| (written, heard.answer)).collect(), since }
}

async fn ask<I, A, F: Future<Output = A>>(
    images: BTreeMap<String, I>,
    question: impl Fn(I) -> F,
) -> BTreeMap<String, A> {
    let question = &question;
    let answers =
        stream::iter(images).map(|(written, image)| async move { (written, question(image).await) });
    answers.buffer_unordered(PARALLEL).collect().await
}
