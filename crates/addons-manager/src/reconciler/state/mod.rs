//! The values of a pass: what is wanted and was done so far, what is there, and the split of it into ours and others'.
//!
//! Read by `storage/` and `runtime/`, decided over in `record.rs` and `plan/`. No I/O and no clock here. Where to read next: `plan/mod.rs`.

mod desired;
mod difference;
mod history;
mod observed;
mod world;

pub use self::desired::{
    Asked, ContainerRow, DesiredState, ImageRow, InstallationRow, NetworkRow, PolicyReason, Provider, Role,
    RolloutState, Side, VolumeRow, aside_digest, rollout_digest,
};
pub use self::difference::{network_difference, volume_difference};
pub use self::history::{Attempt, AttemptError, Completion, EndedBy, ErrorKind, StartedBy};
pub use self::observed::{
    ForeignId, ObservedState, OtherContainer, Others, OurContainer, OurNetwork, OurVolume, Ours, observe,
};
pub use self::world::World;

/// Label that carries the nonce of the row that an object was created for.
pub const NONCE_LABEL: &str = "oak.create";

/// The first 12 digits of an id, as tools show it.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
