//! See `pfs_fuzz::read_reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pfs_fuzz::read_reply::check(input));
