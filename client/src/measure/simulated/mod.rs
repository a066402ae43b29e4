//! A path in virtual time.
