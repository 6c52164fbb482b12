//! Gathers what the checks need from outside. It asks and judges nothing.

use std::collections::BTreeMap;

use addon_client::Pin;
use addon_descriptor::{AddonDescriptor, ImageRef};
use futures_util::{StreamExt as _, stream};

use super::registry::{ImageFacts, RegistryClient, RegistryError};

/// Images of one release that are asked for at once.
const PARALLEL: usize = 4;

/// What the registries said, by image as it is written.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Each image of the release, asked for once however many services use it.
    pub images: BTreeMap<String, Result<ImageFacts, RegistryError>>,
}

/// Asks for every image of a descriptor.
pub async fn gather(client: &RegistryClient, descriptor: &AddonDescriptor) -> Facts {
    let images = descriptor
        .services
        .iter()
        .map(|service| (service.image.as_written().to_owned(), service.image.clone()));
    ask(images.collect(), |image| async move { client.image(&image).await }).await
}

/// Asks for the images of an approved release by their pinned digests: whatever a tag names today, these are what
/// is installed.
pub async fn gather_pinned(client: &RegistryClient, pins: &[Pin]) -> Facts {
    let pinned = pins.iter().filter_map(|pin| {
        let image: ImageRef = pin.image.parse().ok()?;
        let by_digest = format!("{}@{}", image.name(), pin.digest).parse().ok()?;
        Some((pin.image.clone(), by_digest))
    });
    ask(pinned.collect(), |image| async move { client.image_anew(&image).await }).await
}

async fn ask<F: Future<Output = Result<ImageFacts, RegistryError>>>(
    images: BTreeMap<String, ImageRef>,
    question: impl Fn(ImageRef) -> F,
) -> Facts {
    let question = &question;
    let answers =
        stream::iter(images).map(|(written, image)| async move { (written, question(image).await) });
    Facts { images: answers.buffer_unordered(PARALLEL).collect().await }
}
