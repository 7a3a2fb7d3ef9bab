//! See `pfs_fuzz::write_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pfs_fuzz::write_body::check(input));
