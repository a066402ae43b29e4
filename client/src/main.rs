//! The client of airpods.

fn main() {}
