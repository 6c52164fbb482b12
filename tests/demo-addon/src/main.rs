//! A tiny static server.
fn main() {}
