//! Tests of the reconciler as a whole: storage on a temporary file, the engine in memory, the time set by hand, every pass called by name.

pub(crate) mod bench;
mod faults;
mod heal;
mod jobs;
mod lifecycle;
mod properties;
mod quiet;
mod rollouts;
mod words;
