//! See `pfs_fuzz::small`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pfs_fuzz::small::check(input));
