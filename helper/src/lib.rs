//! The helper daemon of airpods.
