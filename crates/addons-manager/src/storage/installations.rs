//! Installations: what somebody asked for.
