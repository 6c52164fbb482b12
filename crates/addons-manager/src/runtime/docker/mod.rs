//! The Docker Engine, through bollard: the only folder that knows it.
