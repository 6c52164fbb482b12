//! What was asked for, what was applied, and the status that is shown.

pub mod installation;
pub mod specification;
