//! See `fuzzing::shown` of the client.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| airpods::fuzzing::shown(bytes));
