//! What to change in a text that is no JSON: the habits of YAML, JSON5, JavaScript and Python, told by what stands where
//! the parser stopped.
//!
//! Knows JSON, and nothing of what a descriptor is.

use super::report::shown;
use super::tree::Positions;

/// Where the fault of a text that is no JSON begins, in bytes, and what it is, for people, with what to write instead
/// where that is plain.
pub fn explain_syntax(text: &str, fault: &serde_json::Error) -> (usize, String) {
    let offset = offset_of(text, fault);
    let message = fault.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    if text.trim().is_empty() {
        return (offset, "the text is empty: JSON is needed, such as `{...}`".to_owned());
    }
    if fault.is_eof() {
        return (offset, format!("{message}: {}", unclosed(text)));
    }
    if message == "invalid escape" || message.contains("hex escape") {
        let slip = "behind a backslash stands one of `\"\\/bfnrt` or `uXXXX`; a backslash itself is `\\\\`";
        return (offset, format!("{message}: {slip}"));
    }
    if message.starts_with("control character") {
        let slip = "in a string a line break is written `\\n`, a tab `\\t`, any other one such as `\\u0007`";
        return (offset, format!("a control character stands in a string: {slip}"));
    }
    // The parser may have stopped in a word, or behind one that it knows only the beginning of.
    let is_in_word = text[offset..].starts_with(is_word) || message == "expected ident";
    let start = if is_in_word { text[..offset].trim_end_matches(is_word).len() } else { offset };
    let (before, rest) = (text[..start].trim_end(), &text[start..]);
    // A bracket or a comment there is told as such.
    if message == "trailing characters" && !rest.starts_with(['/', '#', '}', ']']) {
        return (start, format!("{message}: the value before it is complete, and one text holds one value"));
    }
    match slip(before, rest) {
        Some(slip) => (start, format!("{message}: {slip}")),
        None => (offset, message.to_owned()),
    }
}

/// Where the parser stopped, in bytes.
fn offset_of(text: &str, fault: &serde_json::Error) -> usize {
    // serde_json counts columns in bytes, from 1, and 0 stands for the end of the line before.
    let start: usize = text.split_inclusive('\n').take(fault.line().saturating_sub(1)).map(str::len).sum();
    let mut offset = (start + fault.column().saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// What is missing at the end of a text that ends too early.
fn unclosed(text: &str) -> String {
    let (mut open, mut string, mut escaped) = (Vec::new(), None, false);
    for (at, byte) in text.bytes().enumerate() {
        match (byte, string) {
            _ if escaped => escaped = false,
            (b'\\', Some(_)) => escaped = true,
            (b'"', Some(_)) => string = None,
            (_, Some(_)) => (),
            (b'"', None) => string = Some(at),
            (b'{' | b'[', None) => open.push(at),
            (b'}' | b']', None) => _ = open.pop(),
            _ => (),
        }
    }
    let Some(at) = string.or(open.pop()) else { return "the text ends too early".to_owned() };
    let (line, column) = Positions::new(text).resolve(at);
    let (opened, missing) = match text.as_bytes()[at] {
        b'{' => ("{", "}"),
        b'[' => ("[", "]"),
        _ => ("\"", "\""),
    };
    format!(
        "the text ends too early, a `{missing}` is missing: the `{opened}` of line {line}, column {column} is not closed"
    )
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
        '-' if before.is_empty() => "JSON starts with `{`; YAML is not read",
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
        _ if before.is_empty() => "JSON starts with `{`; YAML is not read",
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
        check(r#"{"a": [1"#, 8, "a `]` is missing: the `[` of line 1, column 7 is not closed");
        check(r#"{"a": {"b": "}\"]"}"#, 19, "a `}` is missing: the `{` of line 1, column 1 is not closed");
        check(r#"{"a": "b"#, 8, "a `\"` is missing: the `\"` of line 1, column 7 is not closed");
        check(r#"{"a":"#, 5, "a `}` is missing");
        check("nul", 3, "ends too early");
        check("{} x", 4, "one text holds one value");
        check(r#""a": 1"#, 4, "one text holds one value");
        check("{}}", 3, "one too many");
        check("  ", 2, "empty");
    }
}
