//! A small service on the kit, spoken to over real sockets.

#![allow(clippy::unwrap_used, reason = "everything here is a test or helps one")]

mod auth;
mod bodies;
mod command;
mod guards;
mod routing;
mod service;
mod stopping;
