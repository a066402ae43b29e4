//! See `fuzzing::link_name` of the helper.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| airpods_helper::fuzzing::link_name(bytes));
