//! A PostgreSQL server for tests, of the programs that the machine has: never the one that runs on it.
//!
//! [`database`] gives a test a database of its own, copied from a template in some hundredth of a second, on a server that
//! all tests of a run share: in whatever processes they are, it is started by the first and ended some seconds after the
//! last, also when that was killed. [`Server`] is one for a single test, which may stop it. A server runs as a user that is
//! not root, since it refuses to, and listens on a Unix socket below `/tmp` and, where a test asks for it, on a free port.

mod programs;
mod server;
mod shared;

pub use server::Server;
pub use shared::{Database, database, empty_database};
