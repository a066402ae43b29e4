//! See `fuzzing::podman_answer` of the client.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| airpods::fuzzing::podman_answer(bytes));
