//! Words that look alike and mean the opposite: no slip of the pen makes one of the other, so none is ever suggested in
//! place of the other.
//!
//! Knows words, and nothing of what they stand for.

/// What one says and the other denies, as parts of names.
const PAIRS: [(&str, &str); 22] = [
    ("active", "disabled"),
    ("add", "drop"),
    ("add", "remove"),
    ("allow", "deny"),
    ("always", "never"),
    ("disable", "enable"),
    ("disabled", "enabled"),
    ("down", "up"),
    ("exclude", "include"),
    ("external", "internal"),
    ("false", "true"),
    ("hard", "soft"),
    ("keep", "delete"),
    ("kept", "deleted"),
    ("lock", "unlock"),
    ("max", "min"),
    ("no", "yes"),
    ("off", "on"),
    ("private", "shared"),
    ("ro", "rw"),
    ("start", "stop"),
    ("started", "stopped"),
];

/// What turns a word into its opposite when it stands before it.
const DENIALS: [&str; 7] = ["anti", "dis", "in", "no", "non", "not", "un"];

/// Whether two names differ in nothing but a word and its opposite: `enabled` and `disabled`, `min_size` and `max-size`,
/// `exec` and `noexec`, `read_only` and `not_read_only`. Case makes no difference.
pub fn are_opposite(one: &str, other: &str) -> bool {
    let (one, other) = (one.to_lowercase(), other.to_lowercase());
    let (first, second) = (parts(&one), parts(&other));
    if first.len() != second.len() {
        return is_denial(&one, &other) || is_denial(&other, &one);
    }
    let mut differing = first.iter().zip(&second).filter(|(a, b)| a != b);
    match (differing.next(), differing.next()) {
        (Some((a, b)), None) => {
            let is_pair = |(x, y): &(&str, &str)| (x == a && y == b) || (x == b && y == a);
            PAIRS.iter().any(is_pair) || is_denial(a, b) || is_denial(b, a)
        }
        _ => false,
    }
}

fn parts(name: &str) -> Vec<&str> {
    name.split(['_', '-', '.', ' ']).collect()
}

/// Whether `denial` is `word` with something before it that turns it around.
fn is_denial(denial: &str, word: &str) -> bool {
    // Of a word of one or two letters anything may be the end.
    word.len() > 2
        && denial
            .strip_suffix(word)
            .is_some_and(|before| DENIALS.contains(&before.trim_end_matches(['_', '-', '.', ' '])))
}

#[cfg(test)]
mod tests {
    use super::are_opposite;

    #[test]
    fn what_denies_the_other_is_its_opposite() {
        for (one, other) in [
            ("enabled", "disabled"),
            ("Enable", "disable"),
            ("active", "inactive"),
            ("secure", "insecure"),
            ("exec", "noexec"),
            ("yank", "unyank"),
            ("cap_add", "cap_drop"),
            ("min_size", "max-size"),
            ("read_only", "not_read_only"),
            ("start", "stop"),
            ("ro", "rw"),
            ("internal", "external"),
        ] {
            assert!(are_opposite(one, other) && are_opposite(other, one), "{one} {other}");
        }
    }

    #[test]
    fn slips_are_no_opposites() {
        for (one, other) in [
            ("enabled", "enable"),
            ("disabled", "disable"),
            ("disbaled", "disabled"),
            ("image", "imgae"),
            ("ports", "port"),
            ("init", "it"),
            ("name", "nmae"),
            ("", "disabled"),
            ("min", "min"),
            ("min_add", "max_drop"),
        ] {
            assert!(!are_opposite(one, other) && !are_opposite(other, one), "{one} {other}");
        }
    }
}
