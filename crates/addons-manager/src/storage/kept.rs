//! Volumes that outlived their installation.
