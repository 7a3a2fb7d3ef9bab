//! The file system's pure logic: no clock, no file, no socket, no thread.
//!
//! Code comes in two shapes. A **planner** is a function from inputs to a value, like [`layout::Recipe::split`].
//! A **state machine** has `handle_*` methods that take what happened and `poll_action` that returns what is to
//! be done; its shell does the I/O. So the servers, the clients and a simulation run the very same rules.

pub mod cache;
pub mod checksum;
pub mod collective;
pub mod copy;
pub mod datatype;
pub mod extent;
pub mod fence;
pub mod hints;
pub mod ids;
pub mod layout;
#[macro_use]
pub mod mutant;
pub mod path;
pub mod pattern;
pub mod pointer;
pub mod session;
pub mod token;
pub mod unsynced;
