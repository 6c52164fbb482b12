//! `healthcheck`.

use std::time::Duration;

use super::report::{At, about, shown};
use super::tree::Kind;
use crate::descriptor::{HealthTest, Healthcheck};
use crate::fields;
use crate::quantity::parse_duration;
use crate::rules;
use crate::violation::Invalid;

/// Shortest time that the engine takes for a check (Docker Engine API, `HealthConfig`).
const SHORTEST: Duration = Duration::from_millis(1);

/// A duration.
pub(super) fn duration(at: At<'_>) -> Option<Duration> {
    if let Kind::Number(number) = &at.node.kind {
        at.fault_suggesting(rules::INVALID_DURATION, "a duration needs a unit", format!("\"{number}s\""));
        return None;
    }
    let text = at.text()?;
    match parse_duration(text) {
        Ok(duration) => Some(duration),
        Err(fault) => {
            at.record(rules::INVALID_DURATION, about(text, fault));
            None
        }
    }
}

fn interval(at: At<'_>) -> Option<Duration> {
    let value = duration(at)?;
    if value < SHORTEST {
        at.fault(rules::INVALID_DURATION, "at least 1ms; without the field it is the engine's choice");
        return None;
    }
    Some(value)
}

/// Reads a healthcheck; `None` when it says nothing.
pub(super) fn read(at: At<'_>) -> Option<Healthcheck> {
    let fields = at.fields(&fields::HEALTHCHECK, &[])?;
    let mut check = Healthcheck {
        test: fields.get("test").and_then(test).unwrap_or_default(),
        interval: fields.get("interval").and_then(interval),
        timeout: fields.get("timeout").and_then(interval),
        retries: fields
            .get("retries")
            .and_then(|at| at.integer(1, i64::from(i32::MAX)))
            .map(|value| u32::try_from(value).expect("bounded above")),
        // For the engine 0 and nothing are the same.
        start_period: fields
            .get("start_period")
            .and_then(duration)
            .filter(|period| !period.is_zero())
            .and_then(|period| at_least(fields.place("start_period"), period)),
        start_interval: fields.get("start_interval").and_then(interval),
        restart: fields.get("restart").is_none_or(|at| at.boolean().unwrap_or(true)),
    };
    if fields.boolean("disable") {
        if !matches!(check.test, HealthTest::Image | HealthTest::Disabled) {
            let message = "a check that is disabled has no test";
            fields.place("disable").fault(rules::INVALID_HEALTHCHECK, message);
        }
        check.test = HealthTest::Disabled;
    }
    if check.test == HealthTest::Disabled {
        for name in ["interval", "timeout", "retries", "start_period", "start_interval", "restart"] {
            if let Some(at) = fields.get(name) {
                at.warn(rules::NO_EFFECT, format!("`{name}` changes nothing: the check is disabled"), None);
            }
        }
        check = Healthcheck { test: HealthTest::Disabled, ..Healthcheck::default() };
    }
    (check != Healthcheck::default()).then_some(check)
}

fn at_least(at: At<'_>, value: Duration) -> Option<Duration> {
    if value < SHORTEST {
        at.fault(rules::INVALID_DURATION, "at least 1ms, or 0s");
        return None;
    }
    Some(value)
}

fn test(at: At<'_>) -> Option<HealthTest> {
    if let Kind::Text(text) = &at.node.kind {
        if text.as_ref() == "NONE" {
            let message = "a text is a line for the shell, and no program is called NONE";
            at.fault_suggesting(rules::INVALID_HEALTHCHECK, message, "[\"NONE\"]");
            return None;
        }
        if text.trim_matches(' ').is_empty() {
            at.fault(rules::INVALID_HEALTHCHECK, "the line for the shell is blank");
            return None;
        }
        return Some(HealthTest::Shell(text.clone().into_owned()));
    }
    let items = at.items(256);
    let words: Vec<&str> = items.iter().filter_map(|item| item.text()).collect();
    if words.len() < items.len() {
        return None;
    }
    let fault = match words.as_slice() {
        [] if items.is_empty() && matches!(at.node.kind, Kind::List(_)) => return Some(HealthTest::Image),
        [] => return None,
        ["NONE"] => return Some(HealthTest::Disabled),
        ["NONE", ..] => Invalid::new("nothing follows `NONE`").suggest("[\"NONE\"]"),
        ["CMD-SHELL", line] if !line.trim_matches(' ').is_empty() => {
            return Some(HealthTest::Shell((*line).to_owned()));
        }
        ["CMD-SHELL", ..] => Invalid::new("one line for the shell follows `CMD-SHELL`"),
        ["CMD", program, ..] if !program.is_empty() => {
            return Some(HealthTest::Command(words[1..].iter().map(|word| (*word).to_owned()).collect()));
        }
        ["CMD", ..] => Invalid::new("a program follows `CMD`"),
        [first, ..] => {
            let mut meant = vec!["CMD"];
            meant.extend(words.iter().take(16));
            Invalid::new(format!(
                "a test starts with `CMD`, `CMD-SHELL` or `NONE`, not with `{}`",
                shown(first)
            ))
            .suggest(serde_json::json!(meant).to_string())
        }
    };
    at.record(rules::INVALID_HEALTHCHECK, fault);
    None
}
