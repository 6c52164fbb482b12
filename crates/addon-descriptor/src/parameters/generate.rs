//! Random secrets. The randomness is the caller's: this crate has none of its own.

use secrecy::{ExposeSecret as _, SecretString};

use super::{LARGE_PATTERN, SecretRules, whole_value};
use crate::violation::Invalid;

/// Secrets that are made until one matches its pattern. Of a pattern that one in 32 matches, which is what a document is held
/// to, all of them miss with a probability below 10^-14.
const MOST_SECRETS: usize = 1024;
/// Numbers that are drawn for one character. Each is usable with a probability of 1/2 at the very least.
const MOST_DRAWS: usize = 128;

/// A secret that its own rules accept, each of those with the same probability. `fill` fills with random bytes.
pub(super) fn secret(rules: &SecretRules, fill: &mut dyn FnMut(&mut [u8])) -> Result<SecretString, Invalid> {
    let generate = rules.generate.clone().unwrap_or_default();
    let alphabet: Vec<char> = generate.alphabet.chars().collect();
    let pattern = match &rules.pattern {
        None => None,
        Some(text) => Some(whole_value(text, LARGE_PATTERN).map_err(|_| no_match())?),
    };
    let longest = alphabet.iter().map(|c| c.len_utf8()).max().unwrap_or_default();
    for _ in 0..MOST_SECRETS {
        let length = usize::try_from(generate.length).map_err(|_| no_match())?;
        // Nothing is moved while it grows.
        let mut text = String::with_capacity(length.saturating_mul(longest));
        for _ in 0..length {
            text.push(alphabet[index(alphabet.len(), fill).ok_or_else(no_match)?]);
        }
        let secret = SecretString::from(text);
        if pattern.as_ref().is_none_or(|pattern| pattern.is_match(secret.expose_secret())) {
            return Ok(secret);
        }
    }
    Err(no_match())
}

/// A number below `count`, each with the same probability; `None` when there is none, or no usable number is drawn.
fn index(count: usize, fill: &mut dyn FnMut(&mut [u8])) -> Option<usize> {
    let count = u32::try_from(count).ok().filter(|count| *count > 0)?;
    // What lies above the last whole multiple would make the first numbers more likely.
    let usable = u32::MAX - u32::MAX % count;
    (0..MOST_DRAWS).find_map(|_| {
        let mut bytes = [0; 4];
        fill(&mut bytes);
        let drawn = u32::from_le_bytes(bytes);
        (drawn < usable).then(|| usize::try_from(drawn % count).expect("below the length of the alphabet"))
    })
}

fn no_match() -> Invalid {
    Invalid::new("no secret that was made so matches the pattern of the parameter: give a value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::Generate;

    /// Counts up, so that a test sees which numbers are taken.
    fn counter(start: u32) -> impl FnMut(&mut [u8]) {
        let mut next = start;
        move |bytes: &mut [u8]| {
            bytes.copy_from_slice(&next.to_le_bytes());
            next = next.wrapping_add(1);
        }
    }

    fn rules(length: u32, alphabet: &str, pattern: Option<&str>) -> SecretRules {
        let generate = Some(Generate { length, alphabet: alphabet.to_owned() });
        SecretRules { generate, pattern: pattern.map(str::to_owned), ..SecretRules::default() }
    }

    fn made(rules: &SecretRules, start: u32) -> String {
        secret(rules, &mut counter(start)).unwrap().expose_secret().to_owned()
    }

    #[test]
    fn characters_are_drawn_from_the_alphabet() {
        assert_eq!(made(&rules(8, "abc", None), 0), "abcabcab");
        assert_eq!(made(&rules(8, "aé€😀", None), 0), "aé€😀aé€😀");
        assert_eq!(made(&SecretRules::default(), 0), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef");
    }

    #[test]
    fn numbers_above_the_last_whole_multiple_are_drawn_again() {
        // 2^32 - 1 is a multiple of 3, so that only the very last number is left over.
        assert_eq!(made(&rules(8, "abc", None), u32::MAX - 2), "bcabcabc");
        assert_eq!(index(3, &mut counter(u32::MAX)), Some(0), "the next one");
        assert_eq!(index(7, &mut counter(u32::MAX - 2)), Some(0), "2^32 is 4 above a multiple of 7");
        let mut count = [0_usize; 3];
        let mut fill = counter(0);
        (0..3000).for_each(|_| count[index(3, &mut fill).unwrap()] += 1);
        assert_eq!(count, [1000; 3]);
    }

    #[test]
    fn a_secret_is_drawn_until_it_matches() {
        assert_eq!(made(&rules(9, "ab", None), 0), "ababababa");
        assert_eq!(made(&rules(9, "ab", Some("b.*")), 0), "babababab", "the second one");
        let never = secret(&rules(8, "ab", Some("c+")), &mut counter(0));
        assert!(never.is_err());
    }

    #[test]
    fn a_source_without_randomness_ends() {
        let broken = secret(&rules(8, "abc", None), &mut |bytes| bytes.fill(0xff));
        assert!(broken.is_err());
        assert!(secret(&rules(8, "", None), &mut counter(0)).is_err());
    }
}
