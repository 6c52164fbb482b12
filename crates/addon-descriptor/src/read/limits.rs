//! `resources` and `ulimits`: how much of the host a service may use.

use std::collections::BTreeMap;

use super::report::{At, about, shown};
use super::tree::Kind;
use crate::descriptor::{Cpus, MemorySwap, Resources, Ulimit};
use crate::fields;
use crate::quantity::{Decimal, MAX_INTEGER, parse_size};
use crate::rules;
use crate::violation::Invalid;

/// Least memory that the engine takes, in bytes (moby, `daemon_unix.go`: `linuxMinMemory`).
pub(crate) const MIN_MEMORY: u64 = 6 * 1024 * 1024;

/// Kernel limits that the engine knows (`docker/go-units`, `ulimit.go`).
pub(crate) const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `resources`.
pub(super) fn resources(at: At<'_>) -> Resources {
    let Some(fields) = at.fields(&fields::RESOURCES, &[]) else { return Resources::default() };
    let memory = fields.get("memory").and_then(|at| at_least(at, MIN_MEMORY));
    let memory_reservation = fields.get("memory_reservation").and_then(|at| at_least(at, MIN_MEMORY));
    let memory_swap = fields.get("memory_swap").and_then(memory_swap);
    if let (Some(memory), Some(reservation)) = (memory, memory_reservation)
        && reservation > memory
    {
        let message = "`memory_reservation` must not be above `memory`";
        fields.place("memory_reservation").fault(rules::RESOURCE_CONFLICT, message);
    }
    if let (Some(swap), Some(place)) = (memory_swap, fields.get("memory_swap")) {
        match (swap, memory) {
            (_, None) if fields.get("memory").is_none() => {
                place.fault(rules::RESOURCE_CONFLICT, "`memory_swap` needs `memory` beside it");
            }
            (MemorySwap::Bytes(swap), Some(memory)) if swap < memory => {
                let message = "`memory_swap` is memory and swap together: it must not be below `memory`";
                place.fault(rules::RESOURCE_CONFLICT, message);
            }
            _ => (),
        }
    }
    Resources {
        memory,
        memory_reservation,
        memory_swap,
        shm_size: fields.get("shm_size").and_then(|at| {
            let bytes = size(at)?;
            if bytes == 0 {
                at.fault(rules::INVALID_SIZE, "at least one byte");
            }
            Some(bytes)
        }),
        cpus: fields.get("cpus").and_then(cpus),
        cpuset: fields.get("cpuset").and_then(cpuset),
        pids: fields
            .get("pids")
            .and_then(|at| at.integer(1, i64::from(i32::MAX)))
            .map(|value| u32::try_from(value).expect("bounded above")),
    }
}

/// A size in bytes.
pub(super) fn size(at: At<'_>) -> Option<u64> {
    if let Kind::Number(_) = at.node.kind {
        let most = i64::try_from(MAX_INTEGER).expect("53 bits fit");
        return at.integer(0, most).map(|value| u64::try_from(value).expect("bounded above"));
    }
    let text = at.text_or("a size such as `512m`, or a number of bytes,")?;
    match parse_size(text) {
        Ok(size) => Some(size),
        Err(fault) => {
            at.record(rules::INVALID_SIZE, about(text, fault));
            None
        }
    }
}

fn at_least(at: At<'_>, least: u64) -> Option<u64> {
    let bytes = size(at)?;
    if bytes < least {
        let message = format!("the engine refuses less than 6 MiB, and this is {bytes} bytes");
        // So few bytes without a unit were meant as something larger, and megabytes are what a service needs.
        let is_bare = match &at.node.kind {
            Kind::Text(text) => text.bytes().all(|b| b.is_ascii_digit()),
            _ => true,
        };
        let suggestion = match &at.node.kind {
            _ if !is_bare || !(8..=65_536).contains(&bytes) => None,
            Kind::Text(_) => Some(format!("{bytes}m")),
            _ => Some(format!("\"{bytes}m\"")),
        };
        at.record(rules::MEMORY_TOO_SMALL, Invalid { message, suggestion });
        return None;
    }
    Some(bytes)
}

fn memory_swap(at: At<'_>) -> Option<MemorySwap> {
    let is_unlimited = match &at.node.kind {
        Kind::Text(text) => text.as_ref() == "-1",
        Kind::Number(literal) => {
            literal.parse::<Decimal>().is_ok_and(|number| number.to_integer() == Some(-1))
        }
        _ => false,
    };
    if is_unlimited { Some(MemorySwap::Unlimited) } else { size(at).map(MemorySwap::Bytes) }
}

fn cpus(at: At<'_>) -> Option<Cpus> {
    let literal = match &at.node.kind {
        Kind::Number(literal) => literal,
        Kind::Text(text) => text.as_ref(),
        _ => {
            at.wrong_type("a number of processors, as a number or a string such as `0.5`,");
            return None;
        }
    };
    let fault = match literal.parse::<Decimal>() {
        Err(_) => no_cpus(literal),
        Ok(number) if number.is_negative() || number.is_zero() => {
            Invalid::new("above 0; without the field there is no limit")
        }
        Ok(number) if number.places() > 9 => Invalid::new("at most nine places behind the point"),
        Ok(number) => match number.nano() {
            // 1 % of a processor is the least that the engine takes (moby, `daemon_unix.go`).
            Some(nano) if nano < 10_000_000 => {
                Invalid::new("the engine takes no less than 0.01").suggest("0.01")
            }
            Some(nano) if nano <= 4096 * 1_000_000_000 => return Some(Cpus(number)),
            _ => Invalid::new("at most 4096 processors"),
        },
    };
    at.record(rules::INVALID_NUMBER, fault);
    None
}

fn no_cpus(text: &str) -> Invalid {
    let message = format!("`{}` is no number of processors such as `0.5`", shown(text));
    // Thousandths, as Kubernetes writes them.
    let thousandths = text.strip_suffix('m').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let suggestion = thousandths
        .and_then(|digits| format!("{digits}e-3").parse::<Decimal>().ok())
        .filter(|number| number.nano().is_some_and(|nano| nano >= 10_000_000))
        .map(|number| number.to_string());
    Invalid { message, suggestion }
}

/// `0-2,4`: numbers and rising ranges.
fn cpuset(at: At<'_>) -> Option<String> {
    let text = at.text()?;
    let number = |text: &str| -> Option<u16> {
        let is_plain = text.bytes().all(|b| b.is_ascii_digit());
        if is_plain { text.parse().ok() } else { None }
    };
    let range = |part: &str| match part.split_once('-') {
        None => number(part).map(|only| (only, only)),
        Some((first, last)) => Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last),
    };
    let ranges: Option<Vec<(u16, u16)>> = text.split(',').map(range).collect();
    let Some(mut ranges) = ranges else {
        let message = format!("`{}` is no list of processors such as `0-2,4`", shown(text));
        at.fault(rules::INVALID_CPUSET, message);
        return None;
    };
    // The same processors have one form: sorted, and neighbours together.
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    let parts: Vec<String> = merged
        .into_iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    Some(parts.join(","))
}

/// `ulimits`: a number, or `{"soft", "hard"}`, by name.
pub(super) fn ulimits(at: At<'_>) -> BTreeMap<String, Ulimit> {
    let mut found = BTreeMap::new();
    for (member, value) in at.members(64, "a map of names to numbers, such as `{\"nofile\": 65536}`,") {
        let key = member.key.as_ref();
        if !ULIMITS.contains(&key) {
            let lower = key.to_ascii_lowercase();
            let suggestion = at.nearest(lower.strip_prefix("rlimit_").unwrap_or(&lower), ULIMITS);
            let message = format!("`{}` is no kernel limit that the engine knows", shown(key));
            at.fault_key(member, rules::UNKNOWN_ULIMIT, Invalid { message, suggestion });
        }
        if let Some(limit) = ulimit(value) {
            found.insert(key.to_owned(), limit);
        }
    }
    found
}

fn ulimit(at: At<'_>) -> Option<Ulimit> {
    let most = i64::try_from(MAX_INTEGER).expect("53 bits fit");
    if let Kind::Object(_) = at.node.kind {
        let fields = at.fields(&fields::ULIMIT, &[])?;
        let soft = fields.get("soft").and_then(|at| at.integer(-1, most));
        let hard = fields.get("hard").and_then(|at| at.integer(-1, most));
        let (soft, hard) = (soft?, hard?);
        let is_above = |a: i64, b: i64| b != -1 && (a == -1 || a > b);
        if is_above(soft, hard) {
            at.fault(rules::RESOURCE_CONFLICT, "`soft` must not be above `hard`");
        }
        return Some(Ulimit { soft, hard });
    }
    if !matches!(at.node.kind, Kind::Number(_)) {
        let wanted = "a whole number, or `{\"soft\": 1024, \"hard\": 4096}`,";
        match &at.node.kind {
            Kind::Text(text) if text.parse::<i64>().is_ok() => {
                at.wrong_type_suggesting(wanted, text.as_ref());
            }
            Kind::Text(text) if matches!(text.as_ref(), "unlimited" | "infinity") => {
                at.wrong_type_suggesting(wanted, "-1");
            }
            _ => at.wrong_type(wanted),
        }
        return None;
    }
    let value = at.integer(-1, most)?;
    Some(Ulimit { soft: value, hard: value })
}
