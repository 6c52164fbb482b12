//! The document as it goes over the wire, in the form that Oakestra's clients know.

use serde_json::Value;

use crate::descriptor::AddonDescriptor;

impl AddonDescriptor {
    /// The descriptor's fields at top level: those that Oakestra knows filled in with their defaults, all others only
    /// where they differ from theirs.
    pub fn wire_value(&self) -> Value {
        serde_json::to_value(self).expect("a descriptor is plain JSON")
    }
}
