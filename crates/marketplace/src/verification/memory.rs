//! What is remembered of registries lies in the database, so that it outlives the process and all replicas share it.

use addon_client::Timestamp;
use addon_descriptor::Digest;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::registry::Memory;
use crate::storage::{Storage, StorageError};

impl Memory for Storage {
    fn part<'a>(
        &'a self,
        repository: &'a str,
        digest: Digest,
        since: Timestamp,
    ) -> BoxFuture<'a, Option<String>> {
        async move { or_nothing(self.registry_part(repository, &digest, since).await) }.boxed()
    }

    fn keep<'a>(
        &'a self,
        repository: &'a str,
        parts: Vec<(Digest, String)>,
        now: Timestamp,
    ) -> BoxFuture<'a, ()> {
        async move { or_nothing(self.keep_registry_parts(repository, &parts, now).await) }.boxed()
    }

    fn pause<'a>(&'a self, registry: &'a str) -> BoxFuture<'a, Option<Timestamp>> {
        async move { or_nothing(self.registry_pause(registry).await) }.boxed()
    }

    fn keep_pause<'a>(&'a self, registry: &'a str, until: Timestamp) -> BoxFuture<'a, ()> {
        async move { or_nothing(self.keep_registry_pause(registry, until).await) }.boxed()
    }
}

/// A database that fails is no reason not to ask a registry; whether there is a verdict is decided where it is recorded.
fn or_nothing<T: Default>(remembered: Result<T, StorageError>) -> T {
    remembered.unwrap_or_else(|error| {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "what is remembered of registries cannot be used");
        T::default()
    })
}
