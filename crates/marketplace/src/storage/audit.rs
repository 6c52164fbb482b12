//! The audit log: written with each change ([`record`]), never changed.

pub use service_kit::audit::{Actor, Entry, record};
