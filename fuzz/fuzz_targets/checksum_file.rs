//! See `pfs_fuzz::checksum_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pfs_fuzz::checksum_file::check(input));
