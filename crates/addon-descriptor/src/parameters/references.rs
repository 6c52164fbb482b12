//! Where a text refers to parameters. Whether those are declared is for others to say.

use crate::names::ParameterName;

/// What a text is made of, in a document that declares parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'t> {
    /// Text as it stands; `$$` is a dollar already.
    Text(&'t str),
    /// The name in `${name}`.
    Reference(&'t str),
}

/// The parts of a text in order. Text that only looks like a reference (`${`, `${a b}`) is none.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = Token<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let dollar = rest.find('$').unwrap_or(rest.len());
        let (before, from_dollar) = rest.split_at(dollar);
        if !before.is_empty() {
            rest = from_dollar;
            return Some(Token::Text(before));
        }
        let after = from_dollar.strip_prefix('$')?;
        if let Some(after) = after.strip_prefix('$') {
            rest = after;
        } else if let Some((name, after)) = reference(after) {
            rest = after;
            return Some(Token::Reference(name));
        } else {
            rest = after;
        }
        Some(Token::Text("$"))
    })
}

/// The name in the braces that a text starts with, and what follows them.
fn reference(after_dollar: &str) -> Option<(&str, &str)> {
    let inner = after_dollar.strip_prefix('{')?;
    // No name holds a dollar, so that each byte is looked at twice at most.
    let len = inner.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let (name, tail) = inner.split_at(len);
    let tail = tail.strip_prefix('}')?;
    name.parse::<ParameterName>().is_ok().then_some((name, tail))
}

/// The names in `${name}` of a text, in order, with `$$` read as a dollar. Text that only looks like a reference
/// (`${`, `${a b}`) is none.
pub fn references(text: &str) -> impl Iterator<Item = &str> {
    tokens(text).filter_map(|token| match token {
        Token::Text(_) => None,
        Token::Reference(name) => Some(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_names_in_braces() {
        let found = |text: &'static str| references(text).collect::<Vec<_>>();
        assert_eq!(found("${a} and ${b_1}${c}"), ["a", "b_1", "c"]);
        assert_eq!(found("$${a} $$${b}"), ["b"], "two dollars are one");
        assert_eq!(found("$a ${ ${} ${1} ${a b} ${a-b} $"), Vec::<&str>::new());
        assert_eq!(found("${${a}}"), ["a"]);
    }

    #[test]
    fn what_is_no_reference_stays_and_two_dollars_are_one() {
        let read = |text: &str| {
            let part = |token| match token {
                Token::Text(text) => text.to_owned(),
                Token::Reference(name) => format!("<{name}>"),
            };
            tokens(text).map(part).collect::<String>()
        };
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$", "$"),
            ("$$", "$"),
            ("$$$", "$$"),
            ("a$$b$c", "a$b$c"),
            ("${a}b${c}", "<a>b<c>"),
            ("$${a}", "${a}"),
            ("$$${a}", "$<a>"),
            ("${${a}}", "${<a>}"),
            ("${a b} ${} ${1} ${", "${a b} ${} ${1} ${"),
            ("é${a}é", "é<a>é"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
