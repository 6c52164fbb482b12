//! The system tests: one binary, since each further one links 40 MB again.

mod world;
