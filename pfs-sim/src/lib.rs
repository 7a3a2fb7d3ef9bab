//! A world of clients, file servers and a metadata server in one thread, on a virtual clock, from one seed.
//!
//! The protocol's state machines are those of `pfs-core`, unchanged: [`pfs_core::token::manager`],
//! [`pfs_core::token::holder`], [`pfs_core::session`], [`pfs_core::fence`], [`pfs_core::cache`] and [`pfs_core::unsynced`]. The
//! shells around them are small copies of the real ones, with a network, disks and clocks that misbehave.
//!
//! # What goes wrong
//! Every node has a clock of its own, with an offset and a rate. A seed's plan (`plan.rs`) has up to five faults: partitions,
//! broken connections, nodes that stand still or crash, storms of slow, repeated and reordered messages. Frames of a
//! connection arrive in order and are lost with it, except that now and then one is repeated or changes its place. Requests
//! to file servers overtake each other, are late, and lose their answers; what the network never does is to repeat a data
//! request, since no transport does, and a client repeats one only after a drain. A file server that crashes loses each
//! unsynced byte at random, and everything that was on its way to it.
//!
//! # What must hold
//! Each invariant is a function with a name, called after every step that may have changed what it looks at:
//! * `NoConflictingHolders`: no two holders of a byte that can both still reach a disk;
//! * `NoWriteAfterItsFence`: no chunk of a write lands after its fence, boot floor or drain was confirmed;
//! * `EndsAreRecordedFirst`: nobody is fenced whose end is not durable;
//! * `TheGivenUpStayOut`: nothing is taken over of a client whose end was recorded;
//! * `TheFreedHaveStopped`: nothing is freed of a client or a group that may still use its cache;
//! * `EarlierBootsAreOver`: at the end of a grace no file server serves an earlier boot;
//! * `ReadsAreLinearizable`: a byte that is read is of the last write before, or of one at the same time (`model.rs`);
//! * `SyncedBytesAreKept`: a crash loses nothing that a sync has covered;
//! * `SizesAreExact`: a size that was asked for misses no write and undoes no truncation;
//! * `EverythingIsAnswered`: at the end all is healed, and then everything that waits is answered in bounded time.
//!
//! # What a schedule is
//! At least three clients (own holders, a group with collectives, sets in atomic mode; direct and through the cache; files that
//! are closed, with and without a sync, and opened again) and two file servers, hundreds of messages, and a fault in nine of
//! ten. The same seed gives the same schedule, event by event. Files are never deleted: what is opened stays there.

mod client;
mod collective;
mod file_server;
mod invariants;
mod metadata;
mod model;
mod network;
mod plan;
mod rng;
pub mod runner;
pub mod transitions;
mod world;

pub use invariants::Invariant;
pub use world::Violation;
