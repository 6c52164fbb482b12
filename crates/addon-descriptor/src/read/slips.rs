//! What to change in a text that is no JSON: the habits of YAML, JSON5, JavaScript and Python, told by what stands where
//! the parser stopped.
//!
//! Knows JSON, and nothing of what a descriptor is.

use super::report::shown;

/// Where the fault begins and what it is, for people, with what to write instead where that is plain. `offset` is where
/// the parser stopped, in bytes.
pub(super) fn explain(text: &str, offset: usize, fault: &serde_json::Error) -> (usize, String) {
    let message = fault.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    if text.trim().is_empty() {
        return (offset, "the text is empty: a descriptor is a JSON object, `{...}`".to_owned());
    }
    if fault.is_eof() {
        return (offset, format!("{message}: the text ends too early, a `}}`, `]` or `\"` is missing"));
    }
    if message == "invalid escape" || message.contains("hex escape") {
        let slip = "behind a backslash stands one of `\"\\/bfnrt` or `uXXXX`; a backslash itself is `\\\\`";
        return (offset, format!("{message}: {slip}"));
    }
    // The parser may have stopped in a word, or behind one that it knows only the beginning of.
    let is_in_word = text[offset..].starts_with(is_word) || message == "expected ident";
    let start = if is_in_word { text[..offset].trim_end_matches(is_word).len() } else { offset };
    let (before, rest) = (text[..start].trim_end(), &text[start..]);
    match slip(before, rest) {
        Some(slip) => (start, format!("{message}: {slip}")),
        None => (offset, message.to_owned()),
    }
}

/// The slip that begins with `rest`, behind what stands `before` it.
fn slip(before: &str, rest: &str) -> Option<String> {
    let first = rest.chars().next()?;
    let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
    let is_key = before.ends_with(['{', ',']) && rest[word.len()..].trim_start().starts_with(':');
    let slip = match first {
        '/' | '#' => "JSON has no comments",
        '\'' | '`' | '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}' | '\u{201e}' => {
            "keys and strings stand in straight double quotes, `\"`"
        }
        '}' | ']' if before.ends_with(',') => "the comma before it is one too many",
        '}' | ']' | ',' if before.ends_with(':') => "a value is missing behind the colon",
        '}' => "a `]` is missing before it, or the `}` is one too many",
        ']' => "a `}` is missing before it, or the `]` is one too many",
        ';' => "a comma stands between entries",
        ',' if before.ends_with([',', '[', '{']) => "the comma is one too many",
        '"' | '{' | '[' if before.ends_with(['"', '}', ']']) => "a comma is missing before it",
        '+' => "a number has no `+` before it",
        '.' => "a number starts with a digit, such as `0.5`",
        '-' if before.is_empty() => "a descriptor is JSON and starts with `{`; YAML is not read",
        '-' => "a list stands in brackets, `[...]`, with commas between its entries",
        '=' => "a colon stands between a key and its value",
        '0'..='9' if word.bytes().all(|b| b.is_ascii_digit()) && word.starts_with('0') => {
            return Some(format!("a number has no zero before it: write `\"{}\"` for a text", shown(word)));
        }
        '0'..='9' => {
            return Some(format!(
                "a number is written in decimal digits: write `\"{}\"` for a text",
                shown(word)
            ));
        }
        _ if word.is_empty() => return None,
        _ if before.is_empty() => "a descriptor is JSON and starts with `{`; YAML is not read",
        _ if is_key => return Some(format!("keys stand in double quotes: `\"{}\"`", shown(word))),
        _ => {
            let meant = match word.to_lowercase().as_str() {
                "true" | "yes" | "on" => "true",
                "false" | "no" | "off" => "false",
                "none" | "null" | "nul" | "nil" | "undefined" => "null",
                "nan" | "infinity" => return Some("JSON has no such number".to_owned()),
                _ => return Some(format!("strings stand in double quotes: `\"{}\"`", shown(word))),
            };
            return Some(format!("write `{meant}` in place of `{word}`"));
        }
    };
    Some(slip.to_owned())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$')
}

#[cfg(test)]
mod tests {
    use super::super::tree::parse;

    /// The message and column of a text of one line.
    #[track_caller]
    fn check(text: &str, column: u32, part: &str) {
        let fault = parse(text.as_bytes()).err().expect("malformed");
        assert!(fault.message.contains(part), "{text}: {fault}");
        assert_eq!((fault.line, fault.column), (1, column), "{text}: {fault}");
    }

    #[test]
    fn habits_of_other_languages_are_told_with_what_to_write() {
        check(r#"{"a": 1, // why"#, 10, "JSON has no comments");
        check(r#"{"a": 1 # why"#, 9, "JSON has no comments");
        check(r#"{/* why */ "a": 1}"#, 2, "JSON has no comments");
        check("{'a': 1}", 2, "double quotes");
        check("{\u{201c}a\u{201d}: 1}", 2, "straight double quotes");
        check("{name: 1}", 2, "keys stand in double quotes: `\"name\"`");
        check(r#"{"a": 1, b-c : 1}"#, 10, "`\"b-c\"`");
        check(r#"{"a": [1,]}"#, 10, "one too many");
        check(r#"{"a": 1,}"#, 9, "one too many");
        check(r#"{"a": [1,,2]}"#, 10, "one too many");
        check(r#"{"a": "b" "c": 1}"#, 11, "a comma is missing");
        check(r#"[{} {}]"#, 5, "a comma is missing");
        check(r#"{"a": True}"#, 7, "write `true` in place of `True`");
        check(r#"{"a": None}"#, 7, "write `null`");
        check(r#"{"a": nul}"#, 7, "write `null`");
        check(r#"{"a": no}"#, 7, "write `false`");
        check(r#"{"a": NaN}"#, 7, "no such number");
        check(r#"{"a": always}"#, 7, "`\"always\"`");
        check(r#"{"a": +1}"#, 7, "no `+`");
        check(r#"{"a": .5}"#, 7, "`0.5`");
        check(r#"{"a": 0644}"#, 7, "`\"0644\"`");
        check(r#"{"a": 0x1f}"#, 7, "`\"0x1f\"`");
        check(r#"{"a": 512m}"#, 7, "`\"512m\"`");
        check(r#"{"a": 30s, "b": 1}"#, 7, "`\"30s\"`");
        check(r#"{"a" = 1}"#, 6, "a colon");
        check(r#"{"a": "\d"}"#, 9, "backslash");
        check("name: x", 1, "YAML");
        check("--- name: x", 1, "YAML");
        check(r#"{"a": [1,2}"#, 11, "a `]` is missing");
        check(r#"{"a": 1]"#, 8, "a `}` is missing");
        check(r#"{"a": 1;}"#, 8, "a comma");
        check(r#"{"a": }"#, 7, "a value is missing");
        check(r#"{"a": [1"#, 8, "ends too early");
        check("  ", 2, "empty");
    }
}
