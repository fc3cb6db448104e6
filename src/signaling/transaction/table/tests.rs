//! The table and its machines by virtual time.
