//! Tables of what becomes of each field.
