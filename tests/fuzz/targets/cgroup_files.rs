//! See `fuzzing::cgroup_files` of the client.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| airpods::fuzzing::cgroup_files(bytes));
