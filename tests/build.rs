//! Hands the target triple on, by which the static probe is found in the target folder.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=LAB_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}
