//! See `pfs_fuzz::open_marks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pfs_fuzz::open_marks::check(input));
