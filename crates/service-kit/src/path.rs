//! Which form of a path a request may have. Every path is brought to one form before anything looks at it: before
//! routing, and so before authorisation.

/// What becomes of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form<'a> {
    /// It is as it must be.
    Normal,
    /// It ends in a slash, which makes no difference: this is meant.
    Trailing(&'a str),
    /// It has slashes that follow each other: the client is sent to this one.
    Elsewhere(String),
    /// It is `*`: the service as a whole (RFC 9110, 9.3.7).
    Whole,
    /// It could be read in two ways; nothing is at such a path.
    Refused(&'static str),
}

/// What becomes of a path as it stands in the request line, percent-encoded.
pub(crate) fn form(path: &str) -> Form<'_> {
    if path == "*" {
        return Form::Whole;
    }
    let bytes = path.as_bytes();
    let mut doubled = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'/' if bytes.get(at + 1) == Some(&b'/') => doubled = true,
            b'/' if is_dots(&bytes[at + 1..]) => {
                return Form::Refused("\".\" and \"..\" are no names in a path");
            }
            b'%' => {
                let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
                let code = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
                match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    None => return Form::Refused("a % in a path is followed by two hex digits"),
                    Some(b'/' | b'\\' | b'.' | 0) => {
                        return Form::Refused("%2e, %2f, %5c and %00 are not read in a path");
                    }
                    Some(_) => (),
                }
            }
            b'\\' | 0 => return Form::Refused("a path has no backslash and no NUL"),
            _ => (),
        }
    }
    if doubled {
        let mut single = String::with_capacity(path.len());
        for part in path.chars() {
            if part != '/' || !single.ends_with('/') {
                single.push(part);
            }
        }
        return Form::Elsewhere(single);
    }
    match path.strip_suffix('/') {
        Some("") | None => Form::Normal,
        Some(rest) => Form::Trailing(rest),
    }
}

/// Whether what follows a slash is a segment of one or two dots.
fn is_dots(rest: &[u8]) -> bool {
    let end = rest.iter().take(3).position(|byte| *byte == b'/').unwrap_or(rest.len());
    matches!(&rest[..end], b"." | b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_form() {
        for path in ["/", "/a", "/a/b.c", "/a/...", "/a/..b", "/a/.b", "/a/%20b", "/a/%C3%B1", "/*", ""] {
            assert_eq!(form(path), Form::Normal, "{path}");
        }
        assert_eq!(form("*"), Form::Whole);
        for (path, meant) in [("/a/", "/a"), ("/a/b/", "/a/b")] {
            assert_eq!(form(path), Form::Trailing(meant), "{path}");
        }
        for (path, single) in
            [("//", "/"), ("/a//b", "/a/b"), ("//a///b//", "/a/b/"), ("//evil.example", "/evil.example")]
        {
            assert_eq!(form(path), Form::Elsewhere(single.to_owned()), "{path}");
        }
        for path in [
            "/.",
            "/..",
            "/./a",
            "/a/../b",
            "/a/..",
            "/a/%2e",
            "/a/%2E%2e/b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%5C",
            "/a%00",
            "/a\\b",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%+1",
            "//a/../b",
            "/a%2/",
        ] {
            assert!(matches!(form(path), Form::Refused(_)), "{path}");
        }
    }
}
