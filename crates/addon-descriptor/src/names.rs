//! Names: parsed once, valid from then on.
//!
//! Only the form of a name is checked here; whether two names clash is a rule of `validate`.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::violation::Invalid;

/// Longest name, in bytes: a DNS label (RFC 1035, 2.3.4), because it becomes a host name.
pub const MAX_NAME: usize = 63;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// The name of an addon: 1 to 63 of `a-z A-Z 0-9 . _ -`, starting and ending alphanumeric.
    AddonName, check_addon_name
}
name! {
    /// The name of a service inside its addon: 1 to 63 of `a-z A-Z 0-9 . _ -`, first alphanumeric.
    ServiceName, check_object_name
}
name! {
    /// The name of a volume inside its addon: 1 to 63 of `a-z A-Z 0-9 . _ -`, first alphanumeric.
    VolumeName, check_object_name
}
name! {
    /// The name of a network inside its addon: 1 to 63 of `a-z A-Z 0-9 . _ -`, first alphanumeric.
    NetworkName, check_object_name
}
name! {
    /// The name of a running component that a service takes over: 1 to 63 of `a-z A-Z 0-9 . _ -`, first alphanumeric.
    ComponentName, check_object_name
}
name! {
    /// The name of a parameter: `[A-Za-z_][A-Za-z0-9_]*`, at most 63 characters.
    ParameterName, check_parameter_name
}

impl AddonName {
    /// The form in which addon names are unique in a marketplace: lower case, `_` and `.` read as `-`.
    pub fn folded(&self) -> String {
        fold(&self.0)
    }
}

impl ServiceName {
    /// The form in which service names are unique in an addon, because DNS reads them alike.
    pub fn folded(&self) -> String {
        fold(&self.0)
    }
}

/// Lower case, with `_` and `.` read as `-`.
pub(crate) fn fold(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '_' | '.' => '-',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

/// A name that is valid for an object (service, volume, network) and near to `text`, if one can be made of it.
fn repaired(text: &str) -> Option<String> {
    let kept: String = text
        .chars()
        .map(|c| if is_name_char(c) { c } else { '-' })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(MAX_NAME)
        .collect();
    let kept = kept.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    (!kept.is_empty()).then(|| kept.to_owned())
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn check_object_name(text: &str) -> Result<(), Invalid> {
    let fault = if text.is_empty() {
        "a name has at least one character"
    } else if text.len() > MAX_NAME {
        "a name has at most 63 characters"
    } else if !text.chars().all(is_name_char) {
        "a name is made of a-z, A-Z, 0-9, `.`, `_` and `-`"
    } else if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        "a name starts with a letter or a digit"
    } else {
        return Ok(());
    };
    Err(Invalid { message: fault.to_owned(), suggestion: repaired(text) })
}

fn check_addon_name(text: &str) -> Result<(), Invalid> {
    check_object_name(text)?;
    if text.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Invalid {
        message: "the name of an addon ends with a letter or a digit".to_owned(),
        suggestion: repaired(text),
    })
}

fn check_parameter_name(text: &str) -> Result<(), Invalid> {
    let first_ok = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first_ok || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Invalid::new(
            "the name of a parameter is made of a-z, A-Z, 0-9 and `_`, and does not start with a digit",
        ));
    }
    if text.len() > MAX_NAME {
        return Err(Invalid::new("the name of a parameter has at most 63 characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_addons_start_and_end_alphanumeric() {
        for good in ["a", "A-b_c.9", "0", &"x".repeat(63)] {
            assert!(good.parse::<AddonName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a/b", "ä", ".", &"x".repeat(64)] {
            assert!(bad.parse::<AddonName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn other_names_only_start_alphanumeric() {
        assert!("db-".parse::<ServiceName>().is_ok());
        assert!("_db".parse::<VolumeName>().is_err());
    }

    #[test]
    fn folding_makes_look_alikes_equal() {
        let a: AddonName = "My_Addon.X".parse().unwrap();
        assert_eq!(a.folded(), "my-addon-x");
    }

    #[test]
    fn a_bad_name_is_repaired_in_the_suggestion() {
        let fault = "my addon!".parse::<AddonName>().unwrap_err();
        assert_eq!(fault.suggestion.as_deref(), Some("my-addon"));
        assert_eq!("///".parse::<AddonName>().unwrap_err().suggestion, None);
    }
}
