//! `healthcheck`.

use std::time::Duration;

use super::report::{At, about, shown};
use super::tree::Kind;
use crate::descriptor::{HealthTest, Healthcheck};
use crate::fields;
use crate::quantity::{Decimal, format_duration, parse_duration};
use crate::rules;
use crate::violation::Invalid;

/// Shortest time that the engine takes for a check (Docker Engine API, `HealthConfig`).
const SHORTEST: Duration = Duration::from_millis(1);

/// A duration.
pub(super) fn duration(at: At<'_>) -> Option<Duration> {
    if let Kind::Number(literal) = &at.node.kind {
        let message = "a duration is a string with a unit, such as `\"30s\"`".to_owned();
        at.record(rules::INVALID_DURATION, Invalid { message, suggestion: of_number(literal) });
        return None;
    }
    let text = at.text_or("a duration such as `\"30s\"`")?;
    match parse_duration(text) {
        Ok(duration) => Some(duration),
        Err(fault) => {
            at.record(rules::INVALID_DURATION, about(text, fault));
            None
        }
    }
}

/// A number means seconds, or, where it is so large, the nanoseconds that the engine counts in.
fn of_number(literal: &str) -> Option<String> {
    let number: Decimal = literal.parse().ok()?;
    let text = match number.to_integer() {
        Some(nanos) if nanos >= 1_000_000 => {
            format_duration(Duration::from_nanos(u64::try_from(nanos).ok()?))
        }
        _ => format!("{number}s"),
    };
    parse_duration(&text).is_ok().then(|| format!("\"{text}\""))
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
    if let Kind::Text(_) | Kind::List(_) = &at.node.kind {
        // What stands in `test` of the object.
        match at.node.to_json() {
            Some(test) => at.wrong_type_suggesting(
                &fields::HEALTHCHECK.wanted(),
                serde_json::json!({ "test": test }).to_string(),
            ),
            None => at.wrong_type(&fields::HEALTHCHECK.wanted()),
        }
        return None;
    }
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
        let (first, line) = text.split_once(' ').unwrap_or((text, ""));
        if let "NONE" | "CMD" | "CMD-SHELL" = first {
            let message = format!("a text is a line for the shell, and no program is called {first}");
            let suggestion = match (first, line.trim_matches(' ')) {
                ("NONE", _) => Some("[\"NONE\"]".to_owned()),
                (_, "") => None,
                // What a Dockerfile has as a list stays one.
                (_, line) if line.starts_with('[') => {
                    serde_json::from_str::<Vec<String>>(line).ok().map(|words| {
                        serde_json::json!([&["CMD".to_owned()], words.as_slice()].concat()).to_string()
                    })
                }
                (_, line) => Some(line.to_owned()),
            };
            at.record(rules::INVALID_HEALTHCHECK, Invalid { message, suggestion });
            return None;
        }
        if text.trim_matches(' ').is_empty() {
            at.fault(rules::INVALID_HEALTHCHECK, "the line for the shell is blank");
            return None;
        }
        return Some(HealthTest::Shell(text.clone().into_owned()));
    }
    let wanted = "a string, which a shell runs, or a list such as `[\"CMD\", \"program\", \"argument\"]`,";
    let items = at.items(256, wanted);
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
        ["CMD-SHELL", first, _, ..] if !first.trim_matches(' ').is_empty() => {
            Invalid::new("one line for the shell follows `CMD-SHELL`")
                .suggest(serde_json::json!(["CMD-SHELL", words[1..].join(" ")]).to_string())
        }
        ["CMD-SHELL", ..] => Invalid::new("one line for the shell follows `CMD-SHELL`"),
        ["CMD", program, ..] if !program.is_empty() => {
            return Some(HealthTest::Command(words[1..].iter().map(|word| (*word).to_owned()).collect()));
        }
        ["CMD", ..] => Invalid::new("a program follows `CMD`"),
        [first, ..] => {
            let upper = first.to_ascii_uppercase();
            let rest = match upper.as_str() {
                "NONE" => &[],
                "CMD" | "CMD-SHELL" => &words[1..],
                _ => words.as_slice(),
            };
            let first_word = if rest.len() < words.len() { upper.as_str() } else { "CMD" };
            let meant: Vec<&str> = std::iter::once(first_word).chain(rest.iter().copied()).collect();
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
