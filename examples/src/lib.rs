//! Shared parts of the example rank programs.
