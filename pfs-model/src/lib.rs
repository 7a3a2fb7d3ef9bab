//! A model of the token protocol, small enough to visit every state that it can get into.
//!
//! [`stateright`] visits the states; the program `pfs-model` does it for two worlds and says how many there are. In each state
//! the conditions of [`properties`] are looked at: [what always holds](properties::always), and what
//! [happens in some state](properties::sometimes), so that the first is not true for want of events.
//!
//! # How it relates to `pfs-core`
//! The model is written a second time, from the rules in `docs/TOKENS.md`, for readers: a page for the
//! [`client`], the file [`server`] and the [`manager`]. It shares no code with `pfs-core`, whose state
//! machines the simulator runs as they are, in worlds that are too large to be visited wholly. The two answer different
//! questions: is there any order of events in which the rules fail, and do the state machines do what the rules say. The events
//! of [`world::Event`] are the steps of `token::manager`, `token::holder`, `session::coordinator`, `session::client` and
//! `fence::Admission` under the names that these have.
//!
//! # What is left out, and why that loses nothing, or what it loses
//! * **Time.** A lease that runs out is an event that may come at any moment; what clocks give is an order of events, and
//!   the model has that order in its guards: a client has [stopped](state::State::lease_runs_out) before it is
//!   [given up](state::State::give_up) (14), which after a restart takes a grace no shorter than the lease; a file server
//!   [has stopped](state::State::has_stopped), the chunk that it was in included, before the manager takes it to have (16).
//! * **The network.** A message may take any time, so a partition is a long message. That each arrives once and in order
//!   (19) is taken for granted: `session::link` and the simulator are for that. A data request may stay in flight for ever, and
//!   outlive its client.
//! * **Ranges, files, groups, sizes, the cache's blocks.** There is one range of two blocks, and each client is its own holder.
//!   A token allows the use of cached bytes at any moment, so two conflicting tokens in use are a violation even if no request
//!   is sent. Splitting, merging and members of groups are left to the simulator and to property tests.
//! * **Endings of requests.** A file server's answer and the client's knowledge of it are one step, which ends operations
//!   earlier than they could and so makes more orders possible. Reads at one server are one step.
//! * **New clients.** A client that is given up does not come again; as incarnations are never used twice, one that did would be
//!   just another client.
//! * **Progress.** That everybody who waits is granted in the end is the simulator's to show.
//!
//! Any number of reads, writes, hand-overs, pauses and lost leases is in a world; only crashes are numbered. What makes the
//! number of states finite is said at [`state::State::canonical`].

pub mod check;
pub mod client;
pub mod manager;
pub mod mistake;
pub mod properties;
pub mod server;
pub mod state;
pub mod world;
