//! See `fuzzing::message_header` of the helper.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| airpods_helper::fuzzing::message_header(bytes));
