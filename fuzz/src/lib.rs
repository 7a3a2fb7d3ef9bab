//! Fuzz targets: everything that reads bytes of a network or a disk, held to what must be true of any bytes.
//!
//! A target is a function that takes any bytes and panics if something is wrong. libFuzzer calls it from a program in
//! `fuzz_targets/`; the tests call it with every file of `corpus/<target>/`. `cargo xtask fuzz` runs all targets.
//!
//! What all of them hold:
//! * no panic, whatever comes;
//! * memory in proportion to the input, never to a number that it names ([`bounded`]);
//! * the same result however the input is cut into frames, and whether it is read as it arrives or as a whole.

pub mod bounded;
pub mod checksum_file;
pub mod frames;
pub mod messages;
pub mod open_marks;
pub mod read_reply;
pub mod small;
pub mod store;
pub mod write_body;

/// A target by its name, which is that of its program and of its folder in the corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("checksum_file", checksum_file::check),
    ("messages", messages::check),
    ("open_marks", open_marks::check),
    ("read_reply", read_reply::check),
    ("small", small::check),
    ("write_body", write_body::check),
];
