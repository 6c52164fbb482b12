//! Wire types and clients.
