//! When a name is easily taken for another's. Pure; whose names there are is asked by `storage/releases.rs`.
//!
//! Two strengths: names that *read* alike (`rn` for `m`, `1` for `l`) have one [`skeleton`], and the second of them is
//! refused; names that are one slip of a finger apart (`mosquito`, `mos-quitto`) are [`slips`] of each other, and the
//! second of them is held for a reviewer, since honest names come that close too.

/// Names that are shorter are too often one letter apart by chance.
const SHORTEST: usize = 6;

/// The form in which names are compared by the eye: those with one skeleton are easily taken for each other. `folded` is
/// lower case with `-` for every separator.
pub fn skeleton(folded: &str) -> String {
    let mut hyphen = false;
    let alike: String = folded
        .chars()
        // A hyphen more is not seen.
        .filter(|c| !(std::mem::replace(&mut hyphen, *c == '-') && *c == '-'))
        .map(|c| match c {
            '0' => 'o',
            '1' | 'i' => 'l',
            '5' => 's',
            c => c,
        })
        .collect();
    alike.replace("rn", "m").replace("vv", "w").replace("cl", "d")
}

/// A skeleton without its separators: what is left when somebody does not remember where they are.
pub fn bare(skeleton: &str) -> String {
    skeleton.replace('-', "")
}

/// Whether nothing of `name`, folded, is left but a reserved word's letters, read with a careless eye.
pub fn reads_like(name: &str, reserved: &str) -> bool {
    bare(&skeleton(name)) == bare(&skeleton(reserved))
}

/// Every bare skeleton from which a slip makes this one, and this one itself: a letter left out, doubled or put in, taken for
/// another, two of them swapped. Short names have none but themselves. About 75 for each letter.
pub fn slips(bare: &str) -> Vec<String> {
    let letters: Vec<char> = bare.chars().collect();
    let mut found = vec![bare.to_owned()];
    if letters.len() < SHORTEST {
        return found;
    }
    let spell = |letters: &[char]| letters.iter().collect::<String>();
    let others = || ('a'..='z').chain('0'..='9');
    for at in 0..=letters.len() {
        for other in others() {
            let mut longer = letters.clone();
            longer.insert(at, other);
            found.push(spell(&longer));
        }
        if at == letters.len() {
            break;
        }
        let mut shorter = letters.clone();
        shorter.remove(at);
        found.push(spell(&shorter));
        for other in others() {
            let mut changed = letters.clone();
            changed[at] = other;
            found.push(spell(&changed));
        }
        if at + 1 < letters.len() {
            let mut swapped = letters.clone();
            swapped.swap(at, at + 1);
            found.push(spell(&swapped));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether two folded names are told apart by nothing but their numbers, as `probe-2` and `probe-3` or `probe`: members of
/// a family, which nobody takes for each other.
pub fn are_numbered(one: &str, other: &str) -> bool {
    let rest = |name: &str| name.chars().filter(|c| c.is_ascii_alphabetic()).collect::<String>();
    let number = |name: &str| name.chars().filter(char::is_ascii_digit).collect::<String>();
    rest(one) == rest(other) && number(one) != number(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_have_one_skeleton() {
        for (a, b) in [
            ("mosquitto", "m0squitt0"),
            ("mosquitto", "rnosquitto"),
            ("plain", "p1ain"),
            ("wind", "vvind"),
            ("a-b", "a--b"),
        ] {
            assert_eq!(skeleton(a), skeleton(b), "{a} {b}");
        }
        for (a, b) in [("probe-2", "probe-3"), ("a-b", "ab"), ("mqtt", "mqqt")] {
            assert_ne!(skeleton(a), skeleton(b), "{a} {b}");
        }
    }

    #[test]
    fn one_slip_is_found_in_both_directions() {
        let of = |name: &str| bare(&skeleton(name));
        for (a, b) in [
            ("mosquitto", "mosquito"),
            ("mosquitto", "mos-quitto"),
            ("mosquitto", "mosquittoo"),
            ("mosquitto", "mosqiutto"),
            ("mosquitto", "nosquitto"),
            ("node-exporter", "nodeexporter"),
            ("node-exporter", "node-exporters"),
            ("prometheus", "promethues"),
        ] {
            assert!(slips(&of(a)).contains(&of(b)) && slips(&of(b)).contains(&of(a)), "{a} {b}");
        }
        for (a, b) in [("mosquitto", "mosqito"), ("grafana", "granada"), ("mqtt", "mqt"), ("redis", "redix")]
        {
            assert!(!slips(&of(a)).contains(&of(b)) && !slips(&of(b)).contains(&of(a)), "{a} {b}");
        }
        assert!(slips(&"a".repeat(64)).len() < 6_000);
    }

    #[test]
    fn numbers_tell_a_family_apart() {
        for (a, b) in [("probe-2", "probe-3"), ("probe", "probe-2"), ("probe10", "probe-11")] {
            assert!(are_numbered(a, b), "{a} {b}");
        }
        for (a, b) in [("probe", "probee"), ("probe-2", "prob-e2"), ("adm1n", "admin")] {
            assert!(!are_numbered(a, b), "{a} {b}");
        }
    }

    #[test]
    fn reserved_words_are_seen_through() {
        for name in ["adm1n", "ad-min", "oak-estra", "0akestra", "officia1", "marketp1ace"] {
            let found = ["oakestra", "official", "admin", "marketplace"];
            assert!(found.iter().any(|reserved| reads_like(name, reserved)), "{name}");
        }
        assert!(!reads_like("admins", "admin") && !reads_like("oak", "oakestra"));
    }
}
