//! A file server over real sockets, with a metadata server that does what the test tells it.

mod fake_metadata;
mod harness;

mod bad_input;
mod bytes;
mod faulty_store;
mod fencing;
mod full_disk;
mod lease;
mod load;
mod metrics;
mod raw;
mod refusals;
mod scrub;
mod stores;
mod streams;
