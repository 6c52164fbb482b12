//! A small service on the kit, spoken to over real sockets.

mod auth;
mod bodies;
mod guards;
mod routing;
mod service;
mod stopping;
