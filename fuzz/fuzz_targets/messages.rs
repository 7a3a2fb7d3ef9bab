//! See `pfs_fuzz::messages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pfs_fuzz::messages::check(input));
