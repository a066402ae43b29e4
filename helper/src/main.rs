//! The helper daemon of airpods.

fn main() {}
