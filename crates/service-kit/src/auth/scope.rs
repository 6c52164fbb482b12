//! Who asks, and what they may do. Pure values: how a token becomes a [`Principal`] is in `store.rs`.

use std::fmt;
use std::sync::Arc;

use crate::problem::Problem;

/// What a token allows. A service knows only those of its own list; `admin` includes all, and every scope `read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Scope {
    /// See what is there.
    Read = 1,
    /// Publish and withdraw addons.
    Publish = 1 << 1,
    /// Approve, reject, revoke.
    Review = 1 << 2,
    /// Install, change and remove addons.
    Operate = 1 << 3,
    /// Grant dangerous rights to addons.
    Consent = 1 << 4,
    /// Everything, tokens too.
    Admin = 1 << 5,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Publish, Self::Review, Self::Operate, Self::Consent, Self::Admin];

    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Review => "review",
            Self::Operate => "operate",
            Self::Consent => "consent",
            Self::Admin => "admin",
        }
    }

    /// What it allows, for people: the rest of a sentence that begins with "may".
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Read => "see what is there",
            Self::Publish => "publish addons, delete and yank one's own releases, and manage their owners",
            Self::Review => "approve and reject releases of others, and revoke releases",
            Self::Operate => "install, change, restart and remove addons",
            Self::Consent => "grant dangerous rights to addons at install: that is root on the host",
            Self::Admin => "do everything, make and revoke tokens too",
        }
    }

    /// The scope of that name.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// No scope.
    pub const NONE: Self = Self(0);

    /// The scopes of a space-separated list, as it is stored. Names that this version does not know allow nothing.
    pub fn from_stored(text: &str) -> Self {
        text.split_ascii_whitespace().filter_map(Scope::from_wire).collect()
    }

    /// Whether it allows what `scope` is needed for.
    pub const fn allows(self, scope: Scope) -> bool {
        self.0 & (scope as u8 | Scope::Admin as u8) != 0 || (matches!(scope, Scope::Read) && self.0 != 0)
    }

    /// The scopes that it names, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & *scope as u8 != 0)
    }

    /// Whether it names none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope as u8))
    }
}

impl fmt::Display for Scopes {
    /// A space-separated list.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            write!(f, "{}{scope}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// What a route asks of a caller. Every route has one: there is no default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing, not even an allowed `Host`: probes call by other names.
    Probe,
    /// Nothing.
    Public,
    /// `read`, or nothing where `auth.public_read` is set.
    PublicRead,
    /// A token with this scope.
    Scope(Scope),
}

impl From<Scope> for Access {
    fn from(scope: Scope) -> Self {
        Self::Scope(scope)
    }
}

/// Names that a token is good for: a text in which `*` stands for any characters, in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    /// Longest pattern, in bytes: that of a name, with a few stars.
    pub const MAX: usize = 80;

    /// The pattern, when it is one: 1 to 80 of `a-z A-Z 0-9 . _ - *`.
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*".contains(&byte);
        let fits = (1..=Self::MAX).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.to_owned()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every name that fits `other` fits it too: a star of the other one is met by a star only.
    pub fn covers(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }

    /// Whether a name fits it. Look-alikes are the same name: case is ignored, `_` and `.` are read as `-`.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut from) = (0, 0);
        // Where to go on after the last star: one more character of the name is the star's.
        let mut star: Option<(usize, usize)> = None;
        while from < name.len() {
            if pattern.get(at) == Some(&b'*') {
                star = Some((at + 1, from));
                at += 1;
            } else if pattern.get(at).is_some_and(|&byte| folded(byte) == folded(name[from])) {
                at += 1;
                from += 1;
            } else if let Some((after, begin)) = star {
                star = Some((after, begin + 1));
                (at, from) = (after, begin + 1);
            } else {
                return false;
            }
        }
        pattern[at..].iter().all(|&byte| byte == b'*')
    }
}

fn folded(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' => b'-',
        other => other.to_ascii_lowercase(),
    }
}

/// Who makes a request. Handlers take it as an argument; it is there on every route.
#[derive(Clone, PartialEq, Eq)]
pub struct Principal(Arc<Known>);

#[derive(Debug, PartialEq, Eq)]
struct Known {
    account: Option<String>,
    token_id: Option<String>,
    scopes: Scopes,
    names: Option<NamePattern>,
}

impl Principal {
    /// The account of everyone in `auth.mode = "open"`.
    pub const ANONYMOUS: &str = "anonymous";

    /// The holder of a token.
    pub fn token(account: String, token_id: String, scopes: Scopes, names: Option<NamePattern>) -> Self {
        Self(Arc::new(Known { account: Some(account), token_id: Some(token_id), scopes, names }))
    }

    /// Everyone in open mode: the account `anonymous`, an administrator.
    pub fn open() -> Self {
        let (account, scopes) = (Some(Self::ANONYMOUS.to_owned()), Scope::ALL.into_iter().collect());
        Self(Arc::new(Known { account, token_id: None, scopes, names: None }))
    }

    /// Someone who showed no token.
    pub fn nobody() -> Self {
        Self(Arc::new(Known { account: None, token_id: None, scopes: Scopes::NONE, names: None }))
    }

    /// The account; `None` for someone without a token.
    pub fn account(&self) -> Option<&str> {
        self.0.account.as_deref()
    }

    /// The account, in places behind a scope, where there always is one.
    pub fn account_or_anonymous(&self) -> &str {
        self.account().unwrap_or(Self::ANONYMOUS)
    }

    /// The token that was shown.
    pub fn token_id(&self) -> Option<&str> {
        self.0.token_id.as_deref()
    }

    /// The names that its token is good for; all without one.
    pub fn names(&self) -> Option<&NamePattern> {
        self.0.names.as_ref()
    }

    /// Whether it may do what `scope` is needed for.
    pub fn allows(&self, scope: Scope) -> bool {
        self.0.scopes.allows(scope)
    }

    /// Refuses whoever lacks `scope`: 403 that names it.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.allows(scope) { Ok(()) } else { Err(missing_scope(self.account(), scope)) }
    }

    /// Refuses a token that is not good for an addon of this name: 403 that names the pattern.
    pub fn require_name(&self, name: &str) -> Result<(), Problem> {
        match &self.0.names {
            Some(names) if !names.matches(name) => {
                let names = names.as_str();
                Err(Problem::forbidden(
                    "name-not-allowed",
                    format!("this token is good for addons named {names:?} only, not for {name:?}"),
                ))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub(crate) fn missing_scope(account: Option<&str>, scope: Scope) -> Problem {
    let whose = account.map(|account| format!(" of {account}")).unwrap_or_default();
    Problem::forbidden(
        "missing-scope",
        format!("this needs a token with the scope {scope}; the one{whose} lacks it"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_includes_all_and_every_scope_includes_read() {
        let admin = Scopes::from_stored("admin");
        let publish = Scopes::from_stored("publish");
        for scope in Scope::ALL {
            assert!(admin.allows(scope), "{scope}");
            assert!(!Scopes::NONE.allows(scope), "{scope}");
            assert_eq!(publish.allows(scope), matches!(scope, Scope::Read | Scope::Publish), "{scope}");
        }
    }

    #[test]
    fn scopes_are_stored_as_words() {
        let scopes: Scopes = [Scope::Review, Scope::Read].into_iter().collect();
        assert_eq!(scopes.to_string(), "read review");
        assert_eq!(Scopes::from_stored("read review"), scopes);
        assert_eq!(Scopes::from_stored("of-a-later-version"), Scopes::NONE);
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("mqtt-*", "mqtt-broker", true),
            ("mqtt-*", "mqtt-", true),
            ("mqtt-*", "MQTT_broker", true),
            ("mqtt-*", "amqtt-broker", false),
            ("*-broker", "mqtt-broker-broker", true),
            ("*-broker", "mqtt-broker-x", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYb", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("exact", "exac", false),
        ] {
            assert_eq!(NamePattern::new(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
        for text in ["", "with blank", "umläut", &"a".repeat(81)] {
            assert_eq!(NamePattern::new(text), None, "{text}");
        }
    }

    #[test]
    fn a_pattern_covers_those_that_reach_no_further() {
        for (wide, narrow, expected) in [
            ("*", "*", true),
            ("*", "mqtt-*", true),
            ("mqtt-*", "mqtt-*", true),
            ("mqtt-*", "MQTT_*", true),
            ("mqtt-*", "mqtt-a*b", true),
            ("mqtt-*", "mqtt-broker", true),
            ("a*c*", "a*b*c*d", true),
            ("mqtt-*", "*", false),
            ("mqtt-*", "mqtt*", false),
            ("mqtt-*", "*mqtt-*", false),
            ("mqtt-broker", "mqtt-*", false),
            ("a*c", "a*", false),
            ("*a*b", "*b*a", false),
        ] {
            let pattern = |text| NamePattern::new(text).unwrap();
            assert_eq!(pattern(wide).covers(&pattern(narrow)), expected, "{wide} {narrow}");
        }
    }

    #[test]
    fn a_pattern_with_many_stars_takes_no_long_time() {
        let pattern = NamePattern::new(&"a*".repeat(40)).unwrap();
        assert!(!pattern.matches(&"b".repeat(100_000)));
        assert!(!NamePattern::new(&format!("{}b", "*a".repeat(39))).unwrap().matches(&"a".repeat(10_000)));
    }
}
