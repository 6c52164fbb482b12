//! Logs: structured, to standard error, as text for people or JSON for machines. Metrics are in `metrics.rs`.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// `[log]` of a service's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// What is logged: a level, or directives as `info,marketplace=debug,sqlx=warn`.
    pub level: String,
    /// How it is written.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// The logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The directives cannot be read.
    #[error(
        "log.level {level:?} is neither a level (error, warn, info, debug, trace) nor a list of directives"
    )]
    Level {
        /// What was configured.
        level: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A word of them is no level: it would be taken for the name of a part of the program, and nothing else logged.
    #[error(
        "log.level {level:?}: {word:?} is no level (error, warn, info, debug, trace, off); what is meant for a part of the \
         program is written as marketplace=debug"
    )]
    Word {
        /// What was configured.
        level: String,
        /// The word.
        word: String,
    },
}

/// Begins to log. Only the first call in a process has an effect.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(directives(&settings.level)?)
        .map_err(|source| TelemetryError::Level { level: settings.level.clone(), source })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    // A second one is a test that started two services in one process.
    _ = match settings.format {
        LogFormat::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    Ok(())
}

/// The directives to filter by: those that are configured, and quiet for the server library, which tells of its threads
/// what nobody needs to know, and writes an error for each request that it cannot parse: anybody can send those at any
/// rate. The clients' libraries write whole bodies and headers when they are asked for detail, environments and logins
/// among them: that takes being asked by name.
fn directives(level: &str) -> Result<String, TelemetryError> {
    const QUIET: [(&str, &str, LevelFilter); 5] = [
        ("actix_server", "actix_server=warn", LevelFilter::WARN),
        ("actix_http", "actix_http=off", LevelFilter::OFF),
        ("bollard", "bollard=info", LevelFilter::INFO),
        ("hyper", "hyper=info", LevelFilter::INFO),
        ("h2", "h2=info", LevelFilter::INFO),
    ];
    let mut words: Vec<&str> = level.split(',').map(str::trim).collect();
    let mut most = LevelFilter::OFF;
    for word in &words {
        if word.contains(['=', '[']) {
            continue;
        }
        let known = word.parse::<LevelFilter>().ok().filter(|_| !word.is_empty());
        let unknown = || TelemetryError::Word { level: level.to_owned(), word: (*word).to_owned() };
        most = most.max(known.ok_or_else(unknown)?);
    }
    words.extend(
        QUIET
            .into_iter()
            .filter(|(library, _, quiet)| most > *quiet && !level.contains(library))
            .map(|(_, directive, _)| directive),
    );
    Ok(words.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quiet_unless_they_are_asked_for() {
        for (level, expected) in [
            ("info", "info,actix_server=warn,actix_http=off"),
            ("DEBUG", "DEBUG,actix_server=warn,actix_http=off,bollard=info,hyper=info,h2=info"),
            (
                "trace,bollard=trace",
                "trace,bollard=trace,actix_server=warn,actix_http=off,hyper=info,h2=info",
            ),
            ("info, sqlx=warn", "info,sqlx=warn,actix_server=warn,actix_http=off"),
            ("info,actix_server=info", "info,actix_server=info,actix_http=off"),
            ("warn", "warn,actix_http=off"),
            ("error,actix_http=error", "error,actix_http=error"),
            ("off", "off"),
            ("marketplace=debug", "marketplace=debug"),
        ] {
            assert_eq!(directives(level).unwrap(), expected);
            assert!(EnvFilter::try_new(expected).is_ok(), "{expected}");
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_not_taken_for_a_part_of_the_program() {
        for level in ["shout", "info,marketplace", "", "info,", "inf", "all"] {
            let fault = directives(level).unwrap_err().to_string();
            assert!(fault.contains("is no level"), "{level:?}: {fault}");
        }
    }

    #[test]
    fn directives_that_cannot_be_read_are_named() {
        let settings = LogSettings { level: "marketplace=shout".to_owned(), ..LogSettings::default() };
        let fault = init(&settings).unwrap_err();
        assert!(fault.to_string().contains("marketplace=shout"), "{fault}");
    }
}
