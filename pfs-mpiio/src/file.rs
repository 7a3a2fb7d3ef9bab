//! An open file, its size, and its end.
//!
//! [`File`] has the calls of a program, which wait; [`OpenFile`] is what they work on, shared with operations that are under
//! way, and its functions are `async`. What it consists of can be used by several threads; that two calls of a program do
//! not disturb each other is the program's concern.

use crate::amode::AccessMode;
use crate::atomic::Atomicity;
use crate::collective::{decode_size, encode_size};
use crate::drive::drive;
use crate::error::{Error, ErrorClass};
use crate::group::{Call, Group, ROOT};
use crate::hints::Current;
use crate::node_memory::{self, NodeMemory};
use crate::operation::Outstanding;
use crate::process::SharedClient;
use crate::queue::Queue;
use crate::report::{Form, Report};
use crate::split::Active;
use crate::threads;
use crate::times::{Counter, Phase, Recorder, Times};
use crate::view::Views;
use mpi::topology::UserGroup;
use pfs_client::{CommitSummary, EntryKind, FileDescriptor};
use pfs_core::collective::Nodes;
use pfs_core::extent::MAX_FILE_BYTES;
use pfs_core::hints::Hints;
use pfs_core::ids::ClientId;
use pfs_core::path::PfsPath;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A file that all ranks of a communicator have open. [`close`](File::close) it on all of them: a file that is
/// dropped instead loses what was not synced.
pub struct File {
    pub(crate) open: Owner,
}

/// The program's hold on a file. Its end waits for what this rank does by itself.
pub(crate) struct Owner(Option<Arc<OpenFile>>);

impl Owner {
    pub(crate) fn new(open: OpenFile) -> Owner {
        Owner(Some(Arc::new(open)))
    }

    /// The file, when nothing is under way any more.
    fn finish(mut self) -> OpenFile {
        drive(async {
            let _place = self.queue.turn().await;
            self.alone.none().await;
        });
        self.0.take().and_then(Arc::into_inner).expect("operations let go of the file before they are over")
    }
}

impl Deref for Owner {
    type Target = Arc<OpenFile>;

    fn deref(&self) -> &Arc<OpenFile> {
        self.0.as_ref().expect("taken only when the value is consumed")
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            // They run on the client's thread, which must not be the last one that uses the client.
            drive(open.alone.none());
        }
    }
}

/// What a file consists of.
pub(crate) struct OpenFile {
    // Dropped in this order: the file before its client, the communicator last.
    pub(crate) atomic: Atomicity,
    pub(crate) file: Attached,
    pub(crate) client: SharedClient,
    pub(crate) group: Group,
    /// The ranks' clients, by rank.
    pub(crate) members: Vec<ClientId>,
    pub(crate) amode: AccessMode,
    pub(crate) hints: Current,
    pub(crate) nodes: Nodes,
    pub(crate) views: Views,
    pub(crate) path: PfsPath,
    /// The collective operations.
    pub(crate) queue: Arc<Queue>,
    /// The nonblocking accesses of this rank by itself.
    pub(crate) alone: Arc<Outstanding>,
    pub(crate) split: Active,
    /// What the last exchange has used.
    node_memory: Mutex<Option<Arc<NodeMemory>>>,
    /// See [`File::set_visible_at_once`].
    pub(crate) is_visible_at_once: AtomicBool,
    /// At rank 0: what was made durable and could not be reported yet.
    unreported: Mutex<Option<CommitSummary>>,
    report: Report,
    pub(crate) times: Recorder,
}

/// What the ranks have agreed about an open.
pub(crate) struct Terms {
    pub(crate) path: PfsPath,
    pub(crate) amode: AccessMode,
    pub(crate) hints: Hints,
    pub(crate) nodes: Nodes,
    pub(crate) report: Form,
}

/// A rank's part of the group's open. Only rank 0 closes it for all; the others let go, and all do if the group is lost.
pub(crate) struct Attached {
    file: Option<FileDescriptor>,
    is_root: bool,
}

impl Attached {
    /// The file for rank 0 to close, unless another one could not let go of it.
    async fn into_roots(mut self) -> (Option<FileDescriptor>, Result<(), Error>) {
        match self.file.take() {
            Some(file) if !self.is_root => (None, file.detach().await.map_err(Error::from)),
            file => (file, Ok(())),
        }
    }
}

impl Deref for Attached {
    type Target = FileDescriptor;

    fn deref(&self) -> &FileDescriptor {
        self.file.as_ref().expect("taken only when the value is consumed")
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        match self.file.take() {
            // Should it fail, the file is closed late, by the end of the sessions.
            Some(file) if !self.is_root || file.group_error().is_some() => drop(drive(file.detach())),
            // Dropping the file closes it.
            _ => {}
        }
    }
}

impl File {
    /// Waits for what a call of the program does.
    pub(crate) fn run<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        threads::check()?;
        drive(call)
    }

    /// The same of a collective call: when the operations that were begun before are over.
    pub(crate) fn run_in_turn<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let turn = self.open.queue.turn();
        self.run(async {
            let _place = turn.await;
            call.await
        })
    }

    /// The file's size in bytes. Not collective.
    pub fn get_size(&self) -> Result<u64, Error> {
        self.run(self.open.times.during(Phase::Meta, async { Ok(self.open.own_io()?.size().await?) }))
    }

    /// Cuts or extends the file to `bytes`. Collective: all ranks give the same size.
    pub fn set_size(&self, bytes: u64) -> Result<(), Error> {
        self.run_in_turn(self.open.times.during(Phase::Meta, self.open.set_size(bytes)))
    }

    /// Reserves space for the first `bytes` bytes, so that writes there find room; bytes stay as they are, and the file has at
    /// least this size afterwards. Collective: all ranks give the same size.
    pub fn preallocate(&self, bytes: u64) -> Result<(), Error> {
        self.run_in_turn(self.open.times.during(Phase::Meta, self.open.preallocate(bytes)))
    }

    /// The ranks that have the file open, as a group of MPI.
    pub fn get_group(&self) -> UserGroup {
        self.open.group.ranks()
    }

    /// Makes what all ranks have written durable. Collective.
    pub fn sync(&self) -> Result<(), Error> {
        self.open.times.note(Counter::Syncs);
        self.run_in_turn(self.open.sync())
    }

    /// Makes everything durable and closes the file on all ranks. Collective. The file is closed in any case; an
    /// error says what may be missing in it. What is under way is waited for first. If a rank of the file was given up, each of the others makes what it wrote
    /// itself durable, waits for nobody, and gets the error that says so.
    pub fn close(self) -> Result<(), Error> {
        threads::check()?;
        drive(self.open.finish().close())
    }

    /// Whether what this rank does by itself is seen by the other ranks at once, and it sees what they do so, as files of
    /// POSIX have it. MPI asks for less in non-atomic mode ([`sync`](Self::sync), a barrier and `sync`), and so does a file here
    /// without this: small accesses are collected in memory then. An access is not atomic by it. Not collective.
    pub fn set_visible_at_once(&self, is_visible: bool) {
        self.open.is_visible_at_once.store(is_visible, Ordering::Release);
    }

    /// The access mode of the open.
    pub fn get_amode(&self) -> AccessMode {
        self.open.amode
    }

    /// What this rank has done with the file since it was opened, and how long each phase of it took.
    pub fn times(&self) -> Times {
        self.open.times.times()
    }

    /// The file's place in the file system.
    pub fn path(&self) -> &PfsPath {
        &self.open.path
    }
}

impl OpenFile {
    pub(crate) fn new(
        group: Group,
        members: Vec<ClientId>,
        client: SharedClient,
        file: FileDescriptor,
        terms: Terms,
    ) -> OpenFile {
        let Terms { path, amode, hints, nodes, report } = terms;
        let report = Report::begin(report, &client);
        group.watch(file.group_watch());
        let file = Attached { file: Some(file), is_root: group.is_root() };
        let (atomic, unreported) = (Atomicity::default(), Mutex::new(None));
        let views = Views::new(group.size());
        let (queue, alone, split) = <(Arc<Queue>, Arc<Outstanding>, Active)>::default();
        OpenFile {
            views,
            atomic,
            file,
            client,
            group,
            members,
            amode,
            hints: Current::new(hints),
            nodes,
            path,
            queue,
            alone,
            split,
            node_memory: Mutex::default(),
            is_visible_at_once: AtomicBool::new(false),
            unreported,
            report,
            times: Recorder::of_file(),
        }
    }

    pub(crate) fn last_memory(&self) -> MutexGuard<'_, Option<Arc<NodeMemory>>> {
        self.node_memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn set_size(&self, bytes: u64) -> Result<(), Error> {
        self.agree_size(Call::SetSize, "set_size", bytes).await?;
        let set = async {
            self.io().set_size(bytes).await?;
            Ok(encode_size(self.io().known_size()))
        };
        let size = self.group.ask(ROOT, set).await?;
        self.io().learn_size(decode_size(&size));
        Ok(())
    }

    async fn preallocate(&self, bytes: u64) -> Result<(), Error> {
        self.agree_size(Call::Preallocate, "preallocate", bytes).await?;
        let reserve = async {
            self.io().allocate(0, bytes).await?;
            Ok(encode_size(self.io().known_size()))
        };
        let size = self.group.ask(ROOT, reserve).await?;
        self.io().learn_size(decode_size(&size));
        Ok(())
    }

    /// Enters a call for which all ranks give the same size.
    async fn agree_size(&self, call: Call, name: &str, bytes: u64) -> Result<(), Error> {
        let own = self.check_size(name, bytes).map(|()| [bytes, 0, 0, 0]);
        let entries = self.group.enter(call, own).await?;
        if let Some(rank) = entries.iter().position(|entry| entry[0] != entries[0][0]) {
            let (first, other) = (entries[0][0], entries[rank][0]);
            let message = format!("{name}: rank 0 gives {first} bytes and rank {rank} {other}");
            return Err(Error::new(ErrorClass::NotSame, message));
        }
        Ok(())
    }

    fn check_size(&self, call: &str, bytes: u64) -> Result<(), Error> {
        self.check_writable()?;
        self.check_not_sequential(call)?;
        if bytes > MAX_FILE_BYTES {
            let message = format!("a size of {bytes} bytes is more than the largest, {MAX_FILE_BYTES}");
            return Err(Error::new(ErrorClass::Arg, message));
        }
        Ok(())
    }

    async fn sync(&self) -> Result<(), Error> {
        self.times.during(Phase::Agree, self.group.enter(Call::Sync, Ok([0; 4]))).await?;
        self.make_durable().await
    }

    /// Every rank commits its objects, and rank 0 reports them and the size. What was committed is reported even
    /// if another rank's commit failed, so that the next sync need not do it again.
    async fn make_durable(&self) -> Result<(), Error> {
        let _watch = self.times.watch(Phase::Sync);
        let (summary, committed) = self.commit().await;
        let summaries = self.group.gather(&summary.to_bytes()).await?;
        let report = async { self.report(&summaries).await.map(|()| Vec::new()) };
        let reported = self.group.ask(ROOT, report).await;
        self.group.agree(committed).await?;
        reported.map(drop)
    }

    /// Commits what was written under the group's token and under the rank's own.
    async fn commit(&self) -> (CommitSummary, Result<(), Error>) {
        let own = self.atomic.own();
        let mut done = (CommitSummary::default(), Ok(()));
        for file in [Some(&*self.file), own.as_deref()].into_iter().flatten() {
            match file.commit().await {
                Ok(summary) => done.0 = done.0.merge(summary),
                Err(error) => done.1 = done.1.and(Err(error.into())),
            }
        }
        done
    }

    async fn report(&self, summaries: &[Vec<u8>]) -> Result<(), Error> {
        let mut all = self.unreported().take();
        for bytes in summaries.iter().filter(|bytes| !bytes.is_empty()) {
            let summary = CommitSummary::from_bytes(bytes)?;
            all = Some(match all {
                Some(all) => all.merge(summary),
                None => summary,
            });
        }
        let Some(all) = all else { return Ok(()) };
        let kept = all.clone();
        let reported = self.file.report_sync(all).await;
        Ok(reported.inspect_err(|_| *self.unreported() = Some(kept))?)
    }

    fn unreported(&self) -> MutexGuard<'_, Option<CommitSummary>> {
        self.unreported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn close(self) -> Result<(), Error> {
        let entered = self.times.during(Phase::Agree, self.group.enter(Call::Close, Ok([0; 4]))).await;
        let durable = match entered {
            Ok(_) => self.make_durable().await,
            Err(error) => Err(error),
        };
        let closing = Instant::now();
        if let Some(lost) = self.group.lost().cloned() {
            return Err(self.close_alone(lost).await);
        }
        let own = self.atomic.close().await;
        let OpenFile { file, client, group, members, amode, path, node_memory, report, times, .. } = self;
        // The root closes for the group when nobody uses the file any more. From here on a dead rank is not told: the
        // group is no more. But nobody waits for anything that is not bounded in time.
        group.bounded();
        let (file, detached) = file.into_roots().await;
        let (detached, own) = group.agree_both(detached, own).await;
        let is_detached = detached.is_ok();
        let close = async {
            let closed = match file {
                Some(file) if is_detached => file.close().await,
                // What a rank could not let go of is closed by the end of the sessions: its bytes may not go to others yet.
                Some(file) => file.detach().await,
                None => Ok(()),
            };
            if amode.contains(AccessMode::DELETE_ON_CLOSE) {
                client.as_async().remove(&path, Some(EntryKind::File)).await?;
            }
            closed?;
            Ok(Vec::new())
        };
        let closed = group.ask(ROOT, close).await;
        times.book(Phase::Meta, closing.elapsed());
        if group.lost().is_none() {
            node_memory::keep(members, node_memory.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        let reported = report.print(&group, &client, path.as_str(), times.times()).await;
        durable.and(own).and(detached).and(closed.map(drop)).and(reported)
    }

    /// The end of a file whose group is lost: nobody can tell when the other ranks are done with it, so every rank lets go
    /// and nobody closes it. The metadata server does when the last of their sessions has ended.
    async fn close_alone(mut self, lost: Error) -> Error {
        let file = self.file.file.take();
        let own = self.atomic.close().await;
        let mut synced = Ok(());
        if let Some(file) = file {
            synced = file.sync().await.map_err(Error::from);
            // Should it fail, the end of this rank's session does the same.
            drop(file.detach().await);
        }
        match synced.and(own) {
            Ok(()) => lost,
            Err(error) => lost.and(format_args!("what this rank wrote was not all made durable: {error}")),
        }
    }

    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        if self.amode.can_write() {
            return Ok(());
        }
        Err(Error::new(ErrorClass::ReadOnly, format!("{} is open with {}", self.path, self.amode)))
    }

    pub(crate) fn check_readable(&self) -> Result<(), Error> {
        if self.amode.can_read() {
            return Ok(());
        }
        Err(Error::new(ErrorClass::Access, format!("{} is open with {}", self.path, self.amode)))
    }
}
