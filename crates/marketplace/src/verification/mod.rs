//! The verification of releases: `worker` takes them from the queue, `facts` asks what must be known, `checks` judges,
//! `registry` is how registries are asked.

pub mod checks;
pub mod facts;
pub mod registry;
pub mod worker;
