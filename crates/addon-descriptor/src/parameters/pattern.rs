//! Patterns of parameters: Rust's regular expressions, against the whole value, in time linear in it.

use regex::{Regex, RegexBuilder};

/// Largest compiled pattern, in bytes: leaves room for `.{1,255}`.
pub(crate) const LARGE_PATTERN: usize = 512 * 1024;

/// The pattern compiled against the whole value, in at most so many bytes.
pub(crate) fn whole_value(text: &str, most: usize) -> Result<Regex, regex::Error> {
    let build = |text: &str, most: usize| RegexBuilder::new(text).size_limit(most).nest_limit(32).build();
    // By itself first, for its grammar alone: `a)(b` would close the group around it.
    match build(text, 0) {
        Ok(_) | Err(regex::Error::CompiledTooBig(_)) => (),
        Err(fault) => return Err(fault),
    }
    match build(&format!(r"\A(?:{text})\z"), most) {
        // With `(?x)` a comment may be open at its end, and a line feed, which means nothing then, closes it.
        Err(regex::Error::Syntax(_)) => build(&format!("\\A(?:{text}\n)\\z"), most),
        built => built,
    }
}
