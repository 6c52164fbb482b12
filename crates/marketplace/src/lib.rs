//! The marketplace service.
