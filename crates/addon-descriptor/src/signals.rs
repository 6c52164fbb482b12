//! The signals that an engine can send (moby/sys `signal`, Linux), and their one name each.

/// Names by number, as on every architecture but MIPS.
const BY_NUMBER: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// Second names.
const ALIASES: [(&str, &str); 3] = [("CLD", "CHLD"), ("IOT", "ABRT"), ("POLL", "IO")];
/// Lowest and highest real-time signal, as the engine counts them.
const REAL_TIME: std::ops::RangeInclusive<u32> = 34..=64;
/// Up to here they are counted from below, from here on from above.
const LAST_FROM_MIN: u32 = 49;

/// The name in the form `SIGTERM`, of a name with or without `SIG` in any case, or of a number.
pub(crate) fn parse(text: &str) -> Option<String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return by_number(text.parse().ok()?);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let bare = ALIASES.iter().find(|(alias, _)| *alias == bare).map_or(bare, |(_, name)| name);
    if BY_NUMBER.contains(&bare) {
        return Some(format!("SIG{bare}"));
    }
    let step = |rest: &str, sign: char| -> Option<u32> {
        if rest.is_empty() {
            return Some(0);
        }
        let digits = rest.strip_prefix(sign)?;
        let is_plain =
            digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        if is_plain { digits.parse().ok() } else { None }
    };
    let number = match (bare.strip_prefix("RTMIN"), bare.strip_prefix("RTMAX")) {
        (Some(rest), _) => REAL_TIME.start() + step(rest, '+').filter(|n| *n <= 15)?,
        (_, Some(rest)) => REAL_TIME.end() - step(rest, '-').filter(|n| *n <= 14)?,
        _ => return None,
    };
    by_number(number)
}

fn by_number(number: u32) -> Option<String> {
    if (1..=31).contains(&number) {
        let index = usize::try_from(number - 1).expect("at most 30");
        return Some(format!("SIG{}", BY_NUMBER[index]));
    }
    if !REAL_TIME.contains(&number) {
        return None;
    }
    Some(if number == *REAL_TIME.start() {
        "SIGRTMIN".to_owned()
    } else if number <= LAST_FROM_MIN {
        format!("SIGRTMIN+{}", number - REAL_TIME.start())
    } else if number == *REAL_TIME.end() {
        "SIGRTMAX".to_owned()
    } else {
        format!("SIGRTMAX-{}", REAL_TIME.end() - number)
    })
}

/// Every name without `SIG`, to find the nearest among.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    BY_NUMBER.into_iter().chain(["RTMIN", "RTMAX"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_one_name() {
        for (text, name) in [
            ("TERM", "SIGTERM"),
            ("SIGTERM", "SIGTERM"),
            ("sigterm", "SIGTERM"),
            ("15", "SIGTERM"),
            ("IOT", "SIGABRT"),
            ("RTMIN", "SIGRTMIN"),
            ("RTMIN+3", "SIGRTMIN+3"),
            ("SIGRTMAX-2", "SIGRTMAX-2"),
            ("37", "SIGRTMIN+3"),
            ("64", "SIGRTMAX"),
        ] {
            assert_eq!(parse(text).as_deref(), Some(name), "{text}");
            assert_eq!(parse(name).as_deref(), Some(name), "{name}");
        }
        for text in
            ["", "0", "32", "65", "SIG", "TERMINATE", "RTMIN+16", "RTMAX-15", "RTMIN-1", "RTMIN+", "RTMIN+03"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
