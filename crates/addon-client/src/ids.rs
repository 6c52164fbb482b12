//! The ids of releases and installations: 24 lower-case hex digits in the form of a MongoDB ObjectId, so that those of
//! an existing Oakestra stay valid. Clock and randomness are passed in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text is no id: an id is 24 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 24 hex digits")]
pub struct InvalidId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 4 bytes of seconds since the epoch, then 8 random ones: ids sort by the time they were made. Read in any
        /// case, written in lower case.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 12]);

        impl $name {
            /// A new id, made at `seconds` since the epoch.
            pub const fn new(seconds: u32, random: [u8; 8]) -> Self {
                let s = seconds.to_be_bytes();
                let r = random;
                Self([s[0], s[1], s[2], s[3], r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]])
            }

            /// When it was made, in seconds since the epoch.
            pub const fn seconds(self) -> u32 {
                u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
            }

            /// The 12 bytes.
            pub const fn as_bytes(&self) -> &[u8; 12] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; 24];
                for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
                    pair[0] = HEX[usize::from(byte >> 4)];
                    pair[1] = HEX[usize::from(byte & 15)];
                }
                f.pad(std::str::from_utf8(&text).expect("hex digits are ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let text: &[u8; 24] = text.as_bytes().try_into().map_err(|_| InvalidId)?;
                let mut bytes = [0; 12];
                for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
                    *byte = digit(pair[0])? << 4 | digit(pair[1])?;
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .pattern(Some("^[0-9a-fA-F]{24}$"))
                    .examples(["6b00fc9223516c5e37bee27c"])
                    .into()
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

id! {
    /// The id of a release in the marketplace.
    ReleaseId
}

id! {
    /// The id of an installation on a host.
    InstallationId
}

const HEX: [u8; 16] = *b"0123456789abcdef";

fn digit(byte: u8) -> Result<u8, InvalidId> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(InvalidId),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_seconds_then_random_bytes() {
        let id = ReleaseId::new(0x6b00_fc92, [0x23, 0x51, 0x6c, 0x5e, 0x37, 0xbe, 0xe2, 0x7c]);
        assert_eq!(id.to_string(), "6b00fc9223516c5e37bee27c");
        assert_eq!(id.seconds(), 0x6b00_fc92);
        assert!(id < ReleaseId::new(0x6b00_fc93, [0; 8]));
    }

    #[test]
    fn any_case_is_read_and_lower_case_written() {
        let id: InstallationId = "6B00FC9223516c5e37bee27C".parse().unwrap();
        assert_eq!(id.to_string(), "6b00fc9223516c5e37bee27c");
        assert_eq!(serde_json::to_value(id).unwrap(), "6b00fc9223516c5e37bee27c");
        assert_eq!(serde_json::from_str::<InstallationId>("\"6B00FC9223516C5E37BEE27C\"").unwrap(), id);
    }

    #[test]
    fn anything_else_is_no_id() {
        for text in [
            "",
            "6b00fc9223516c5e37bee27",
            "6b00fc9223516c5e37bee27cc",
            "6b00fc9223516c5e37bee27g",
            "6b00fc9223516c5e37bee2+7",
            " 6b00fc9223516c5e37bee27",
            "ñññññññññññññññññññññññ",
        ] {
            assert_eq!(text.parse::<ReleaseId>(), Err(InvalidId), "{text}");
        }
        assert!(serde_json::from_str::<ReleaseId>("7").is_err());
    }
}
