//! The addon descriptor: reading, validation, canonical form, digest and rights.
//!
//! Pure: no clock, no I/O, nothing asynchronous.

pub mod descriptor;
mod digest;
mod fields;
mod image;
mod names;
pub mod parameters;
mod quantity;
mod read;
mod rights;
pub mod rules;
mod schema;
mod signals;
mod validate;
mod violation;
mod wire;

pub use descriptor::{AddonDescriptor, NetworkSpec, ServiceSpec, VolumeSpec};
pub use digest::Digest;
pub use image::{DEFAULT_REGISTRY, DEFAULT_TAG, ImageRef};
pub use names::{AddonName, ComponentName, MAX_NAME, NetworkName, ParameterName, ServiceName, VolumeName};
pub use quantity::{Decimal, MAX_INTEGER, format_duration, parse_duration, parse_size};
pub use read::{Reading, read};
pub use rights::{Level, Right, rights, risk};
pub use schema::{SCHEMA_TEXT, schema, schema_text};
pub use semver::{Version, VersionReq};
pub use violation::{Invalid, Malformed, Violation};
