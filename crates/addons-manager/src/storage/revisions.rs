//! Revisions: what is asked of the engine for an installation, resolved once and stored.
