//! IOR's parallel I/O test on this file system, on plain files and on the MPI library's own MPI-IO.
//!
//! Options, directives, file layout, and what is printed have IOR's names and meaning, so that figures can be compared and
//! scripts go on to work. The order of things: [`options`] and [`script`] make [`params`], [`check`] says what does not fit
//! together, [`plan`] says which bytes go where, [`phase`] moves them, [`test`](mod@test) times it, [`run`] prints it.

pub mod check;
pub mod names;
pub mod operations;
pub mod options;
pub mod outliers;
pub mod output;
pub mod params;
pub mod pattern;
pub mod phase;
pub mod plan;
pub mod presets;
pub mod report;
pub mod run;
pub mod script;
pub mod shift;
pub mod summary;
pub mod test;
