//! The laboratory of airpods.
