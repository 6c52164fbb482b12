//! What people with bad intentions send: paths and methods that can be read in two ways (`requests`), bodies that set what is
//! not theirs (`bodies`), bodies and registries that are to use the service up (`bombs`), names that are taken for another
//! (`names`), guessed tokens and a stolen database (`tokens`), changes of the audit log (`audit`), registries that serve
//! something else each time or lead elsewhere (`registries`).
//!
//! Who may call what is `matrix.rs`; each route of the table is there, by every kind of caller.

mod audit;
mod bodies;
mod bombs;
mod names;
mod registries;
mod requests;
mod tokens;
