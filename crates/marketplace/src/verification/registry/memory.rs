//! What outlives one question to a registry: what a digest stands for, and until when a registry wants to be left alone.
//! It says what is remembered, not where.

use std::fmt;
use std::time::Duration;

use addon_client::Timestamp;
use addon_descriptor::Digest;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::config::ImageConfig;
use super::platform::Platform;
use super::{ImageFacts, RegistryError};

/// How long an image that an index lists is taken to be where it was seen. What it is cannot change; that it is still there
/// can.
pub(super) const SEEN_LATELY: Duration = Duration::from_secs(60 * 60);

/// Where it is remembered. A memory that fails remembers nothing: then registries are asked.
pub trait Memory: fmt::Debug + Send + Sync + 'static {
    /// What `repository` (`registry/path`, and before it `user@` where not everybody has that login) serves under a digest, if that was seen at `since` or later.
    fn part<'a>(
        &'a self,
        repository: &'a str,
        digest: Digest,
        since: Timestamp,
    ) -> BoxFuture<'a, Option<String>>;

    /// Remembers what it serves under digests.
    fn keep<'a>(
        &'a self,
        repository: &'a str,
        parts: Vec<(Digest, String)>,
        now: Timestamp,
    ) -> BoxFuture<'a, ()>;

    /// Until when `registry` wants to be left alone.
    fn pause<'a>(&'a self, registry: &'a str) -> BoxFuture<'a, Option<Timestamp>>;

    /// Remembers that.
    fn keep_pause<'a>(&'a self, registry: &'a str, until: Timestamp) -> BoxFuture<'a, ()>;
}

/// Remembers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Forgetful;

impl Memory for Forgetful {
    fn part<'a>(&'a self, _: &'a str, _: Digest, _: Timestamp) -> BoxFuture<'a, Option<String>> {
        Box::pin(std::future::ready(None))
    }

    fn keep<'a>(&'a self, _: &'a str, _: Vec<(Digest, String)>, _: Timestamp) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }

    fn pause<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<Timestamp>> {
        Box::pin(std::future::ready(None))
    }

    fn keep_pause<'a>(&'a self, _: &'a str, _: Timestamp) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What a digest stands for, as it is remembered. One that this version cannot read is asked for again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// The manifest of one image.
    Manifest {
        /// Digest of its configuration.
        config: Digest,
        /// Compressed size in bytes.
        bytes: u64,
        /// How many layers it has.
        layers: usize,
    },
    /// The configuration of one image.
    Config {
        /// What it runs on.
        platform: Platform,
        /// What it says of itself.
        image: Box<ImageConfig>,
    },
    /// What was said of the whole image, every part of it asked for.
    Image(Box<Heard>),
}

/// An answer, and when it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// When.
    pub at: Timestamp,
    /// What.
    pub answer: Result<ImageFacts, RegistryError>,
}
