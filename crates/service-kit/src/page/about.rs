//! What a service says of itself, on its page and in its documentation. Plain values; how they look is not decided here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

type CountsFuture = Pin<Box<dyn Future<Output = Option<Vec<Count>>> + Send>>;

/// A service in its own words.
#[derive(Clone, Default)]
pub struct About {
    pub(crate) purpose: &'static str,
    pub(crate) other: Option<Other>,
    pub(crate) counts: Option<Arc<dyn Fn() -> CountsFuture + Send + Sync>>,
}

/// A service that this one works with.
#[derive(Debug, Clone)]
pub(crate) struct Other {
    pub(crate) text: String,
    pub(crate) url: Option<String>,
}

/// How many there are of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub number: u64,
    /// Of what, as `approved releases`.
    pub what: String,
}

impl About {
    /// A service that is there for this: one or two sentences.
    #[must_use]
    pub fn new(purpose: &'static str) -> Self {
        Self { purpose, ..Self::default() }
    }

    /// The same with a sentence about the service that it works with, and where that is, if it is known. Nothing secret.
    #[must_use]
    pub fn beside(mut self, text: impl Into<String>, url: Option<String>) -> Self {
        self.other = Some(Other { text: text.into(), url });
        self
    }

    /// The same with what there is of what; `None` while that is not known. Everybody may see it.
    #[must_use]
    pub fn counting<F, Fut>(mut self, counts: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<Vec<Count>>> + Send + 'static,
    {
        self.counts = Some(Arc::new(move || Box::pin(counts())));
        self
    }
}

impl fmt::Debug for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("About")
            .field("purpose", &self.purpose)
            .field("other", &self.other)
            .finish_non_exhaustive()
    }
}
