//! The id of a request: taken over from the caller where it is sane, else made; in the answer's header, in problem
//! documents and in the log.

use std::fmt;

use actix_web::http::header::{HeaderName, HeaderValue};

use crate::random;

/// The header that carries it, in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over, in bytes: a UUID fits twice.
const LONGEST: usize = 80;

/// The id of a request: 1 to 80 of `a-z A-Z 0-9 . _ -`.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's id where it is sane, else a new one of 16 hex digits.
    pub fn of(given: Option<&HeaderValue>) -> Self {
        match given {
            Some(value) if is_sane(value.as_bytes()) => Self(value.clone()),
            _ => Self::random(),
        }
    }

    fn random() -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 16];
        for (pair, byte) in text.chunks_exact_mut(2).zip(random::bytes::<8>()) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Self(HeaderValue::from_bytes(&text).expect("hex digits are a header value"))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("it is made of visible ASCII")
    }

    /// As a header's value.
    pub fn header(&self) -> &HeaderValue {
        &self.0
    }
}

fn is_sane(text: &[u8]) -> bool {
    (1..=LONGEST).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_taken_over_and_any_other_replaced() {
        for given in ["a", "0c9e3a3e-7d3f-4d7a-9f57-f2a6b0c7d1e2", "trace_1.2", &"x".repeat(80)] {
            let value = HeaderValue::from_str(given).unwrap();
            assert_eq!(RequestId::of(Some(&value)).as_str(), given);
        }
        for given in ["", "a b", "a\"b", "<script>", &"x".repeat(81)] {
            let value = HeaderValue::from_str(given).unwrap();
            let made = RequestId::of(Some(&value));
            assert_eq!(made.as_str().len(), 16, "{given}");
        }
        assert_ne!(RequestId::of(None), RequestId::of(None));
    }
}
