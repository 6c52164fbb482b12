//! JSON text to a descriptor: goes on after a fault, so that every one is reported.

use crate::descriptor::AddonDescriptor;
use crate::violation::{Malformed, Violation};

/// What came of reading a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The document; there exactly when `violations` is empty.
    pub descriptor: Option<AddonDescriptor>,
    /// What must be changed, in the order of the text.
    pub violations: Vec<Violation>,
    /// What is only unwise, or was read as something else, in the order of the text.
    pub warnings: Vec<Violation>,
}

/// Reads a document.
///
/// # Errors
/// [`Malformed`] when the text is no JSON at all.
pub fn read(_text: &[u8]) -> Result<Reading, Malformed> {
    todo!("the reader is being written")
}
