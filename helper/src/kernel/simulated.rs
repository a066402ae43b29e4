//! The kernel's twin for tests.
