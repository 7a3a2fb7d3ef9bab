//! IOR's test: every rank moves blocks of a shared file or of its own file, in segments.
//!
//! Options, file layout and the table of results have IOR's names and meaning, so that figures can be compared.

pub mod backend;
pub mod layout;
pub mod options;
pub mod pattern;
pub mod run;
pub mod table;
