//! How the engine asks a container whether it is well.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::is_default;
use crate::quantity::format_duration;

/// A healthcheck. Times that are `None` are the image's own, else the engine's (30 s, 30 s, 3, 0 s, 5 s).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Healthcheck {
    /// What is asked.
    #[serde(skip_serializing_if = "is_default")]
    pub test: HealthTest,
    /// Between two checks.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_duration")]
    pub interval: Option<Duration>,
    /// For one check.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_duration")]
    pub timeout: Option<Duration>,
    /// Failures in a row until it is unhealthy; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// After a start, in which failures do not count.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_duration")]
    pub start_period: Option<Duration>,
    /// Between two checks during the start period, on engines that know it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_duration")]
    pub start_interval: Option<Duration>,
    /// An unhealthy container is restarted; default `true`.
    #[serde(skip_serializing_if = "is_true")]
    pub restart: bool,
}

impl Default for Healthcheck {
    fn default() -> Self {
        Self {
            test: HealthTest::default(),
            interval: None,
            timeout: None,
            retries: None,
            start_period: None,
            start_interval: None,
            restart: true,
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HealthTest {
    /// The image's own test.
    #[default]
    Image,
    /// No check, not even the image's own.
    Disabled,
    /// A program and its arguments, run as they are; at least one word.
    Command(Vec<String>),
    /// A line for the container's shell.
    Shell(String),
}

impl Serialize for HealthTest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Image => serializer.collect_seq::<[&str; 0]>([]),
            Self::Disabled => serializer.collect_seq(["NONE"]),
            Self::Command(words) => {
                serializer.collect_seq(std::iter::once("CMD").chain(words.iter().map(String::as_str)))
            }
            Self::Shell(line) => serializer.collect_seq(["CMD-SHELL", line]),
        }
    }
}

fn is_true(value: &bool) -> bool {
    *value
}

fn optional_duration<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(format_duration).serialize(serializer)
}
