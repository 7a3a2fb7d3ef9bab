//! mdtest's metadata test on this file system and on others: trees, directories and files are made, looked at, read, renamed
//! and removed, and counted by the second.
//!
//! Options, phases, names of files and the table are mdtest's. [`options`] makes [`params`], [`tree`] says which items there
//! are and how they are called, [`phases`] goes through them, [`summary`] makes the table, [`run`] puts it together.

pub mod options;
pub mod params;
pub mod phases;
pub mod run;
pub mod summary;
pub mod tree;
