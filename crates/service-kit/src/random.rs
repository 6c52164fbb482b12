//! The one place that asks for randomness: a cryptographic generator of the thread, seeded by the operating system.

use rand::Rng;

/// `N` random bytes, fit for secrets.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_are_equal() {
        assert_ne!(super::bytes::<16>(), super::bytes::<16>());
    }
}
