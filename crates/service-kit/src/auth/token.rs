//! The text of a token: a recognisable prefix, an id, 32 random bytes, a checksum.
//!
//! `oakm_<16 hex digits: id>_<43 characters: secret><6 characters: checksum>`, secret and checksum in URL-safe base64. The
//! checksum lets a scanner, or this service without asking its database, tell a token from something else. Only the
//! SHA-256 of the whole text is stored.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Longest text that is looked at as a token, in bytes.
pub(super) const MAX_TOKEN: usize = 512;

const SECRET: usize = 43;
const CHECKSUM: usize = 6;
const ID: usize = 16;

/// A token's text. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    id: String,
}

/// The SHA-256 of a token's text: what is stored and looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl Token {
    /// A new token of a service. `prefix` is the service's, as `oakm`.
    pub fn new(prefix: &str, id: [u8; 8], secret: [u8; 32]) -> Self {
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let body = format!("{prefix}_{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        let checksum = checksum(&body);
        Self { text: body + &checksum, id }
    }

    /// The text, to be shown once.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The id, which is no secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is stored.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, [REDACTED])", self.id)
    }
}

impl TokenHash {
    /// The hash of a text.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// 64 hex digits, as stored.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether it is the one that is stored as `hex`, in a time that does not depend on where they differ.
    pub fn is_stored_as(&self, hex: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.hex().as_bytes(), hex.as_bytes()).into()
    }
}

/// What a text looks like, without asking a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A token of this service, as far as its form goes.
    Ours,
    /// It begins like one and is not whole.
    Damaged,
    /// Something else: it can only be the first token that an operator chose.
    Other,
}

/// What a text looks like.
pub(super) fn form(prefix: &str, text: &str) -> Form {
    let Some(rest) = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else {
        return Form::Other;
    };
    let whole = rest.is_ascii()
        && rest.len() == ID + 1 + SECRET + CHECKSUM
        && rest.as_bytes()[ID] == b'_'
        && checksum(&text[..text.len() - CHECKSUM]) == text[text.len() - CHECKSUM..];
    if whole { Form::Ours } else { Form::Damaged }
}

fn checksum(body: &str) -> String {
    let hash = Sha256::new().chain_update(b"token checksum:").chain_update(body.as_bytes()).finalize();
    URL_SAFE_NO_PAD.encode(&hash[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_and_a_changed_one_is_not() {
        let token = Token::new("oakm", [0xab; 8], [7; 32]);
        let text = token.text();
        assert!(text.starts_with("oakm_abababababababab_"), "{text}");
        assert_eq!(form("oakm", text), Form::Ours);
        assert_eq!(form("oaka", text), Form::Other);
        for at in 5..text.len() {
            let mut changed = text.to_owned().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(form("oakm", std::str::from_utf8(&changed).unwrap()), Form::Damaged, "{at}");
        }
        assert_eq!(form("oakm", &text[..text.len() - 1]), Form::Damaged);
        assert_eq!(form("oakm", "oakm_ñ"), Form::Damaged);
        assert_eq!(form("oakm", "anything else"), Form::Other);
    }

    #[test]
    fn only_the_hash_is_compared_and_nothing_is_shown() {
        let token = Token::new("oakm", [1; 8], [2; 32]);
        assert!(token.hash().is_stored_as(&TokenHash::of(token.text()).hex()));
        assert!(!token.hash().is_stored_as(&TokenHash::of("another").hex()));
        assert!(!token.hash().is_stored_as(""));
        assert_eq!(format!("{token:?}"), "Token(0101010101010101, [REDACTED])");
    }
}
