//! The client of airpods.
