//! What was asked for, what was applied, and the status that is shown.

pub mod claim;
pub mod installation;
pub mod naming;
pub mod rollout;
pub mod specification;
pub mod status;
