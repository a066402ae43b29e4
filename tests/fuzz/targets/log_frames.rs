//! See `fuzzing::log_frames` of the client.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| airpods::fuzzing::log_frames(bytes));
