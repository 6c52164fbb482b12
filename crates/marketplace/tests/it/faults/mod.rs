//! What happens to a marketplace: killed while it publishes, verifies and approves (`kills`); a database file that is
//! locked, damaged, or half-way through its migrations (`sqlite`); a PostgreSQL server that is killed, frozen, made read-only
//! or used up (`postgres`); a disk without room (`disk`). Nothing that was acknowledged is lost, nothing is approved that
//! did not pass, and whoever asks meanwhile is told to come again.

mod disk;
mod kills;
mod postgres;
mod sqlite;
