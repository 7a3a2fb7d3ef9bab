//! What a reader wants to see of the suite of `cargo xtask bench`: a table of ratios with their spread, and plots.
//!
//! Samples are rows of a CSV file that the suite has written; nothing here measures anything, so tables and plots can be made
//! again from what was kept.

pub mod beside;
pub mod plot;
pub mod plots;
pub mod samples;
pub mod table;
