//! See `fuzzing::name_servers` of the client.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| airpods::fuzzing::name_servers(bytes));
