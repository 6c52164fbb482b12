//! A text into which values were put: what is known stands in it, of a secret only its name.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use crate::names::ParameterName;

/// A text that may hold secrets. Shown, it has `${name}` in place of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text(Vec<Piece>);

/// A part of a [`Text`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it stands; never empty, and no two follow each other.
    Literal(String),
    /// The value of that secret.
    Secret(ParameterName),
}

impl Text {
    /// A text without secrets.
    pub(super) fn literal(text: &str) -> Self {
        let mut literal = Self::default();
        literal.push(text);
        literal
    }

    pub(super) fn push(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => (),
            Some(Piece::Literal(literal)) => literal.push_str(text),
            _ => self.0.push(Piece::Literal(text.to_owned())),
        }
    }

    pub(super) fn push_secret(&mut self, name: ParameterName) {
        self.0.push(Piece::Secret(name));
    }

    /// Its parts in order; none of an empty text.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// The whole text, when it holds no secret.
    pub fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The names of the secrets in it, in order, repeated ones too.
    pub fn secrets(&self) -> impl Iterator<Item = &ParameterName> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Secret(name) => Some(name),
        })
    }

    /// The whole text with the secrets put in; `None` when one of them is not to be had. It is put together once: no
    /// part of a secret stays behind in memory.
    pub fn with_secrets<'s>(
        &self,
        secret: impl Fn(&ParameterName) -> Option<&'s SecretString>,
    ) -> Option<SecretString> {
        let parts = self.0.iter().map(|piece| match piece {
            Piece::Literal(text) => Some(text.as_str()),
            Piece::Secret(name) => secret(name).map(|secret| secret.expose_secret()),
        });
        let parts: Vec<&str> = parts.collect::<Option<_>>()?;
        // `concat` allocates what is needed and no more, so that nothing is moved when it becomes a secret.
        Some(parts.concat().into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Literal(text) => f.write_str(text),
            Piece::Secret(name) => write!(f, "${{{name}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ParameterName {
        text.parse().unwrap()
    }

    #[test]
    fn literals_run_together_and_secrets_stand_apart() {
        let mut text = Text::literal("postgres://");
        text.push("");
        text.push("u:");
        text.push_secret(name("password"));
        text.push("@db");
        assert_eq!(
            text.pieces(),
            [
                Piece::Literal("postgres://u:".to_owned()),
                Piece::Secret(name("password")),
                Piece::Literal("@db".to_owned())
            ]
        );
        assert_eq!(text.to_string(), "postgres://u:${password}@db");
        assert_eq!(text.plain(), None);
        let secret = SecretString::from("hunter2");
        let whole = text.with_secrets(|name| (name.as_str() == "password").then_some(&secret)).unwrap();
        assert_eq!(whole.expose_secret(), "postgres://u:hunter2@db");
        assert!(text.with_secrets(|_| None).is_none());
    }

    #[test]
    fn a_text_without_secrets_is_plain() {
        assert_eq!(Text::default().plain(), Some(""));
        assert_eq!(Text::literal("a").plain(), Some("a"));
    }
}
