//! The addon descriptor.
