//! The nouns of the marketplace and the legal moves between their states. Pure: no SQL, no HTTP, no clock.

pub mod addon;
pub mod diff;
pub mod limits;
pub mod name;
pub mod release;
pub mod search;
pub mod transition;
pub mod verification;
