//! The verification of releases: `worker` takes them from the queue, `facts` asks what must be known, `checks` judges,
//! `names` says what a name is held against, `registry` is how registries are asked, `memory` where what they said is remembered.

pub mod checks;
pub mod facts;
mod memory;
pub mod names;
pub mod registry;
pub mod worker;
