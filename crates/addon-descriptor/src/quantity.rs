//! Durations, sizes and decimal numbers: how they are written, and what they are.
//!
//! Everything is exact: no floating-point number is involved, so that what was read can be written again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::violation::Invalid;

/// The largest integer that every JSON reader keeps exactly (RFC 8785, 3.2.2.3): 2^53 - 1.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

const NANOS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads a duration as Compose writes them: `1h30m`, `500ms`, `1.5s`. At most 100 years.
///
/// # Errors
/// A number without a unit, an unknown unit (`1d`) or anything else.
pub fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    exact_duration(text).map_err(|message| Invalid { message, suggestion: meant_duration(text) })
}

fn exact_duration(text: &str) -> Result<Duration, String> {
    let form = || {
        let form =
            "a duration is a sequence of numbers with the units h, m, s, ms, us or ns, such as `1m30s`";
        form.to_owned()
    };
    if text.is_empty() {
        return Err(form());
    }
    let mut rest = text;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let number_len = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.bytes().take_while(|b| !(b.is_ascii_digit() || *b == b'.')).count();
        let (unit, after) = after.split_at(unit_len);
        let number = Decimal::parse_unsigned(number).ok_or_else(form)?;
        let known = NANOS.iter().find(|(name, _)| *name == unit || (unit == "\u{b5}s" && *name == "us"));
        let Some((_, factor)) = known else {
            return Err(match unit {
                "" => "a duration needs a unit".to_owned(),
                "d" => "`d` is no unit of a duration".to_owned(),
                _ => form(),
            });
        };
        let nanos = number.times(*factor).and_then(Decimal::floor).ok_or_else(form)?;
        total += u128::from(nanos);
        rest = after;
    }
    /// 100 years: whatever is longer is a slip, and the engine counts nanoseconds in 63 bits.
    const MAX_NANOS: u128 = 100 * 366 * 24 * 3_600_000_000_000;
    if total > MAX_NANOS {
        return Err("a duration is at most 100 years".to_owned());
    }
    Ok(Duration::from_nanos(u64::try_from(total).expect("100 years of nanoseconds fit into 64 bits")))
}

/// The duration that is certainly meant: its units by other names (`2 min`, `90 Seconds`, `1d`), or none, which is seconds.
fn meant_duration(text: &str) -> Option<String> {
    let mut meant = String::new();
    let mut rest = text.trim_matches(' ');
    if rest.len() > 80 {
        return None;
    }
    let is_alone = rest.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    while !rest.is_empty() {
        let number_len = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, after) = rest.split_at(number_len);
        let after = after.trim_start_matches(' ');
        let unit_len = after.chars().take_while(|c| c.is_alphabetic()).map(char::len_utf8).sum();
        let (unit, after) = after.split_at(unit_len);
        let (unit, factor) = match unit.to_lowercase().as_str() {
            "" if is_alone => ("s", 1),
            "w" | "week" | "weeks" => ("h", 7 * 24),
            "d" | "day" | "days" => ("h", 24),
            "h" | "hr" | "hrs" | "hour" | "hours" => ("h", 1),
            "m" | "min" | "mins" | "minute" | "minutes" => ("m", 1),
            "s" | "sec" | "secs" | "second" | "seconds" => ("s", 1),
            "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => ("ms", 1),
            "us" | "\u{b5}s" | "\u{3bc}s" | "usec" | "microsecond" | "microseconds" => ("us", 1),
            "ns" | "nsec" | "nanosecond" | "nanoseconds" => ("ns", 1),
            _ => return None,
        };
        // `.5s` is half a second.
        let number = if number.starts_with('.') { format!("0{number}") } else { number.to_owned() };
        let number = Decimal::parse_unsigned(&number)?.times(factor)?;
        // Parts of a day are no whole hours always.
        if factor > 1 && number.scale > 0 {
            return None;
        }
        meant.push_str(&format!("{number}{unit}"));
        rest = after.trim_start_matches([' ', ',']);
    }
    exact_duration(&meant).is_ok().then_some(meant)
}

/// Writes a duration in the one form that the canonical document has: `1h30m`, `500ms`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in NANOS {
        let count = nanos / u128::from(factor);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            nanos %= u128::from(factor);
        }
    }
    text
}

/// Reads a size as Compose writes them: `512m`, `1.5gb`, `64KiB`, `1024`. Units count in powers of 1024, and parts of a
/// byte are dropped, as Compose does it.
///
/// # Errors
/// Anything else (`512Mi` with a suggestion), parts of a byte without a unit, more than 2^53 - 1 bytes.
pub fn parse_size(text: &str) -> Result<u64, Invalid> {
    exact_size(text).map_err(|message| Invalid { message, suggestion: meant_size(text) })
}

fn exact_size(text: &str) -> Result<u64, String> {
    let form = || {
        let form =
            "a size is a number with b, k, m, g or t (or kb, KiB, ...), such as `64m`, or a number of bytes";
        form.to_owned()
    };
    let number_len = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(number_len);
    let number = Decimal::parse_unsigned(number).ok_or_else(form)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        "p" | "pb" | "pib" => 1 << 50,
        "ki" | "mi" | "gi" | "ti" | "pi" => return Err(format!("`{unit}` is no unit of a size")),
        _ => return Err(form()),
    };
    if factor == 1 && number.scale > 0 {
        return Err("a size has no parts of a byte: give it a unit, or whole bytes".to_owned());
    }
    number
        .times(factor)
        .and_then(Decimal::floor)
        .filter(|bytes| *bytes <= MAX_INTEGER)
        .ok_or_else(|| "the size is too large".to_owned())
}

/// The size that is certainly meant: its unit by another name (`512Mi`, `64 MB`, `2 gigabytes`).
fn meant_size(text: &str) -> Option<String> {
    let text = text.trim_matches(' ');
    let number_len = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(number_len);
    // `.5g` is half of it.
    let number = if number.starts_with('.') { format!("0{number}") } else { number.to_owned() };
    let unit = match unit.trim_start_matches(' ').to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => "b",
        "k" | "kb" | "ki" | "kib" | "kilobyte" | "kilobytes" => "k",
        "m" | "mb" | "mi" | "mib" | "meg" | "megs" | "megabyte" | "megabytes" => "m",
        "g" | "gb" | "gi" | "gib" | "gig" | "gigs" | "gigabyte" | "gigabytes" => "g",
        "t" | "tb" | "ti" | "tib" | "terabyte" | "terabytes" => "t",
        "p" | "pb" | "pi" | "pib" => "p",
        _ => return None,
    };
    let meant = format!("{number}{unit}");
    exact_size(&meant).is_ok().then_some(meant)
}

/// An exact decimal number, kept as its shortest text (`1.5`, `-0.25`, `3`), without an exponent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal {
    negative: bool,
    /// The digits without the point, without leading zeros.
    digits: u128,
    /// How many of the digits stand behind the point; the last of them is not 0.
    scale: u32,
}

/// Most digits of a decimal number: more than any setting has, few enough to compare exactly.
const MAX_DIGITS: usize = 18;

impl Decimal {
    fn parse_unsigned(text: &str) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            None => (text, ""),
            Some((_, "")) => return None,
            Some(parts) => parts,
        };
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        if whole.len() + fraction.len() > MAX_DIGITS {
            return None;
        }
        let digits: u128 = format!("0{whole}{fraction}").parse().ok()?;
        Some(Self { negative: false, digits, scale: u32::try_from(fraction.len()).ok()? })
    }

    /// The product with a factor, or `None` when it is too large to matter.
    fn times(&self, factor: u64) -> Option<Self> {
        let mut digits = self.digits.checked_mul(u128::from(factor))?;
        let mut scale = self.scale;
        while scale > 0 && digits.is_multiple_of(10) {
            digits /= 10;
            scale -= 1;
        }
        Some(Self { negative: self.negative, digits, scale })
    }

    /// The whole part of a number that is not negative.
    fn floor(self) -> Option<u64> {
        u64::try_from(self.digits / 10_u128.checked_pow(self.scale)?).ok()
    }

    /// Whether it is 0.
    pub fn is_zero(&self) -> bool {
        self.digits == 0
    }

    /// Whether it is below 0.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The number as an integer, when it is a whole one of at most 53 bits.
    pub fn to_integer(&self) -> Option<i64> {
        if self.scale > 0 || self.digits > u128::from(MAX_INTEGER) {
            return None;
        }
        let value = i64::try_from(self.digits).ok()?;
        Some(if self.negative { -value } else { value })
    }

    /// How many digits stand behind the point.
    pub fn places(&self) -> u32 {
        self.scale
    }

    /// A billion times the number, rounded towards 0; `None` when it does not fit.
    pub fn nano(&self) -> Option<i64> {
        let scaled = self.digits.checked_mul(1_000_000_000)? / 10_u128.checked_pow(self.scale)?;
        let value = i64::try_from(scaled).ok()?;
        Some(if self.negative { -value } else { value })
    }
}

/// Most digits of a number that is written out as text: more than any id or measurement has.
const MAX_WRITTEN: usize = 64;

/// The text of a JSON number in its shortest form, without an exponent, however many digits it has up to 64. Of what is
/// also a [`Decimal`] it is the decimal's text.
pub(crate) fn written_out(literal: &str) -> Option<String> {
    let (sign, unsigned) = literal.strip_prefix('-').map_or(("", literal), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some("0".to_owned());
    }
    // How many digits stand before the point.
    let leading = i64::try_from(digits.len() - significant.len()).ok()?;
    let before =
        i64::try_from(whole.len()).ok()?.checked_add(exponent.parse().ok()?)?.checked_sub(leading)?;
    let significant = significant.trim_end_matches('0');
    let width = usize::try_from(before.unsigned_abs()).ok()?;
    let length =
        if before <= 0 { width.checked_add(significant.len())? } else { width.max(significant.len()) };
    if length > MAX_WRITTEN {
        return None;
    }
    Some(if before <= 0 {
        format!("{sign}0.{}{significant}", "0".repeat(width))
    } else if significant.len() <= width {
        format!("{sign}{significant:0<width$}")
    } else {
        let (whole, fraction) = significant.split_at(width);
        format!("{sign}{whole}.{fraction}")
    })
}

impl FromStr for Decimal {
    type Err = Invalid;

    /// Reads digits with an optional sign, point and exponent; 18 significant digits at most.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fault = || Invalid::new("not a decimal number of at most 18 digits");
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            None => (unsigned, 0_i32),
            Some((mantissa, exponent)) => {
                let digits = exponent.trim_start_matches(['+', '-']);
                if exponent.len() > digits.len() + 1 || digits.is_empty() || digits.len() > 4 {
                    return Err(fault());
                }
                (mantissa, exponent.parse().map_err(|_| fault())?)
            }
        };
        let mut number = Self::parse_unsigned(mantissa).ok_or_else(fault)?;
        let limit = i32::try_from(MAX_DIGITS).expect("18 fits");
        if number.digits == 0 {
            number.scale = 0;
            return Ok(number);
        }
        let mut scale = i32::try_from(number.scale).map_err(|_| fault())? - exponent;
        while scale < 0 && scale >= -limit {
            number.digits = number.digits.checked_mul(10).ok_or_else(fault)?;
            scale += 1;
        }
        while scale > 0 && number.digits.is_multiple_of(10) {
            number.digits /= 10;
            scale -= 1;
        }
        if scale < 0 || scale > limit || number.digits >= 10_u128.pow(18) {
            return Err(fault());
        }
        number.scale = u32::try_from(scale).map_err(|_| fault())?;
        number.negative = negative;
        Ok(number)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = usize::try_from(self.scale).expect("a scale of at most 18 fits");
        let digits = format!("{:0>width$}", self.digits, width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if self.negative { "-" } else { "" };
        if fraction.is_empty() { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{fraction}") }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let signed = |number: &Self, scale: u32| {
            let digits = i128::try_from(number.digits * 10_u128.pow(scale - number.scale))
                .expect("at most 36 digits fit into 127 bits");
            if number.negative { -digits } else { digits }
        };
        let scale = self.scale.max(other.scale);
        signed(self, scale).cmp(&signed(other, scale))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_compose_writes_them() {
        for (text, nanos, canonical) in [
            ("1h30m", 5_400_000_000_000, "1h30m"),
            ("90m", 5_400_000_000_000, "1h30m"),
            ("500ms", 500_000_000, "500ms"),
            ("1.5s", 1_500_000_000, "1s500ms"),
            ("0.1s", 100_000_000, "100ms"),
            ("7us", 7_000, "7us"),
            ("7\u{b5}s", 7_000, "7us"),
            ("1.9ns", 1, "1ns"),
            ("0s", 0, "0s"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_nanos(nanos), "{text}");
            assert_eq!(format_duration(duration), canonical, "{text}");
            assert_eq!(parse_duration(canonical), Ok(duration), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_what_is() {
        for (text, suggestion) in [
            ("", None),
            ("30", Some("30s")),
            ("1d", Some("24h")),
            ("1.50d", Some("36h")),
            ("1d12h", Some("24h12h")),
            ("1sec", Some("1s")),
            ("2 min", Some("2m")),
            ("2 Minutes", Some("2m")),
            ("1 hour 30 mins", Some("1h30m")),
            ("1m 30s", Some("1m30s")),
            (" 5s ", Some("5s")),
            ("90S", Some("90s")),
            ("500 millis", Some("500ms")),
            ("1 s", Some("1s")),
            (".5s", Some("0.5s")),
            ("2.5", Some("2.5s")),
            ("1w", Some("168h")),
            ("-1s", None),
            ("s", None),
            ("1.s", None),
            ("1s-2s", None),
            ("5 apples", None),
            ("soon", None),
            ("00:30", None),
            ("1.001d", None),
            ("99999999999999", None),
            ("999999999999h", None),
        ] {
            let fault = parse_duration(text).unwrap_err();
            assert_eq!(fault.suggestion.as_deref(), suggestion, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_compose_writes_them() {
        for (text, bytes) in [
            ("1024", 1024),
            ("0", 0),
            ("1b", 1),
            ("64k", 65_536),
            ("64KiB", 65_536),
            ("512m", 536_870_912),
            ("1.5gb", 1_610_612_736),
            ("1.1g", 1_181_116_006),
            ("2TB", 2_199_023_255_552),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_what_is() {
        for (text, suggestion) in [
            ("512Mi", Some("512m")),
            ("1.5Gi", Some("1.5g")),
            ("512 MB", Some("512m")),
            ("2 gigabytes", Some("2g")),
            (" 64m", Some("64m")),
            (".5g", Some("0.5g")),
            ("64meg", Some("64m")),
            ("", None),
            ("m", None),
            ("-1m", None),
            ("a lot", None),
            ("50%", None),
            ("1,5g", None),
            ("99999 Pi", None),
            ("1.5", None),
            ("9007199254740992", None),
            ("99999p", None),
        ] {
            let fault = parse_size(text).unwrap_err();
            assert_eq!(fault.suggestion.as_deref(), suggestion, "{text}");
        }
    }

    #[test]
    fn decimals_have_one_text() {
        for (text, shortest) in [
            ("1.50", "1.5"),
            ("15e-1", "1.5"),
            ("1e2", "100"),
            ("-0", "0"),
            ("-0.0e5", "0"),
            ("0.001", "0.001"),
            ("-2.5", "-2.5"),
            ("1E+1", "10"),
            ("007", "7"),
        ] {
            let number: Decimal = text.parse().unwrap();
            assert_eq!(number.to_string(), shortest, "{text}");
            assert_eq!(shortest.parse(), Ok(number), "{text}");
        }
        for text in
            ["", "-", "+1", "1.", ".5", "1e", "1e99999", "1e30", "1234567890123456789", "0x1", "1 ", "NaN"]
        {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_written_out_with_all_their_digits() {
        for (literal, text) in [
            ("1234567890123456789", "1234567890123456789"),
            ("-0.12345678901234567890", "-0.1234567890123456789"),
            ("1.5e20", "150000000000000000000"),
            ("12.50e-3", "0.0125"),
            ("-0e5", "0"),
            ("0.00", "0"),
            ("1E+1", "10"),
        ] {
            assert_eq!(written_out(literal).as_deref(), Some(text), "{literal}");
        }
        let digits = "9".repeat(65);
        for literal in ["1e64", "1e-65", "1e99999999999999999999", digits.as_str()] {
            assert_eq!(written_out(literal), None, "{literal}");
        }
        for literal in ["1.50", "15e-1", "1e2", "-0", "0.001", "-2.5", "100", "10.010", "1e-5", "123e-2"] {
            let decimal: Decimal = literal.parse().unwrap();
            assert_eq!(written_out(literal), Some(decimal.to_string()), "{literal}");
        }
    }

    #[test]
    fn decimals_compare_by_value() {
        let mut numbers: Vec<Decimal> =
            ["1.25", "-3", "0", "1.3", "100", "-2.999"].iter().map(|text| text.parse().unwrap()).collect();
        numbers.sort();
        let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["-3", "-2.999", "0", "1.25", "1.3", "100"]);
        assert_eq!("0.5".parse::<Decimal>().unwrap().nano(), Some(500_000_000));
        assert_eq!("3.0".parse::<Decimal>().unwrap().to_integer(), Some(3));
        assert_eq!("9007199254740992".parse::<Decimal>().unwrap().to_integer(), None);
    }
}
