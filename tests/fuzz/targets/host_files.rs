//! See `fuzzing::host_files` of the client.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| airpods::fuzzing::host_files(bytes));
