//! What both services share.
