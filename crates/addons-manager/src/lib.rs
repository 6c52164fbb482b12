//! The addons manager: installs approved releases onto the local container engine and keeps them as they should be.

pub mod domain;
pub mod resolve;
pub mod runtime;
pub mod storage;
