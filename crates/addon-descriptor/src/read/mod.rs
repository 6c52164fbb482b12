//! JSON text to a descriptor: goes on after a fault, so that every one is reported.
//!
//! `tree` makes values with positions of the text (`slips` says why it could not), `report` walks them and collects faults, `document` and `service`
//! read the fields, the other files one family of fields each. Rules across fields are in `validate`.

mod declarations;
pub(crate) mod document;
mod health;
pub(crate) mod limits;
mod maps;
mod metadata;
mod modes;
pub(crate) mod mounts;
pub(crate) mod networks;
mod parameters;
pub(crate) mod ports;
pub(crate) mod report;
pub(crate) mod scope;
pub(crate) mod service;
mod slips;
pub(crate) mod texts;
pub(crate) mod tree;
mod values;

use crate::descriptor::AddonDescriptor;
use crate::violation::{Malformed, Violation};
use report::Report;
pub use slips::explain_syntax;

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
/// [`Malformed`] when the text is no JSON at all, or not within what can be read (256 KiB, nesting of 32).
pub fn read(text: &[u8]) -> Result<Reading, Malformed> {
    let (text, tree) = tree::parse(text)?;
    let report = Report::default();
    let root = report.root(&tree);
    texts::check(root);
    let descriptor = document::read(root).filter(|_| !report.has_violations());
    let (violations, warnings) = report.finish(text);
    debug_assert_eq!(descriptor.is_some(), violations.is_empty(), "what cannot be read is said");
    Ok(Reading { descriptor, violations, warnings })
}
