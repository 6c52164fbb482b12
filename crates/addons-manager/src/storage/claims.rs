//! Claims: what an installation has for itself on this host, one row each, under one unique index.
