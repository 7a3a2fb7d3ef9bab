//! An open file, its size, and its end.

use crate::amode::AccessMode;
use crate::atomic::Atomicity;
use crate::collective::{decode_size, encode_size};
use crate::error::{Error, ErrorClass};
use crate::group::{Call, Group, ROOT};
use crate::info::Info;
use crate::process::SharedClient;
use crate::report::{Form, Report};
use crate::view::Views;
use pfs_client::blocking;
use pfs_client::{CommitSummary, EntryKind};
use pfs_core::extent::MAX_FILE_BYTES;
use pfs_core::hints::Hints;
use pfs_core::ids::ClientId;
use pfs_core::path::PfsPath;
use std::cell::RefCell;
use std::ops::Deref;

/// A file that all ranks of a communicator have open. [`close`](File::close) it on all of them: a file that is
/// dropped instead loses what was not synced.
pub struct File {
    // Dropped in this order: the file before its client, the communicator last.
    pub(crate) atomic: Atomicity,
    pub(crate) file: Attached,
    pub(crate) client: SharedClient,
    pub(crate) group: Group,
    /// The ranks' clients, by rank.
    pub(crate) members: Vec<ClientId>,
    pub(crate) amode: AccessMode,
    pub(crate) hints: Hints,
    pub(crate) views: Views,
    path: PfsPath,
    /// At rank 0: what was made durable and could not be reported yet.
    unreported: RefCell<Option<CommitSummary>>,
    report: Report,
}

/// What the ranks have agreed about an open.
pub(crate) struct Terms {
    pub(crate) path: PfsPath,
    pub(crate) amode: AccessMode,
    pub(crate) hints: Hints,
    pub(crate) report: Form,
}

/// A rank's part of the group's open. Only rank 0 closes it for all; the others let go, and all do if the group is lost.
pub(crate) struct Attached {
    file: Option<blocking::File>,
    is_root: bool,
}

impl Attached {
    /// The file for rank 0 to close, unless another one could not let go of it.
    fn into_roots(mut self) -> (Option<blocking::File>, Result<(), Error>) {
        match self.file.take() {
            Some(file) if !self.is_root => (None, file.detach().map_err(Error::from)),
            file => (file, Ok(())),
        }
    }
}

impl Deref for Attached {
    type Target = blocking::File;

    fn deref(&self) -> &blocking::File {
        self.file.as_ref().expect("taken only when the value is consumed")
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        match self.file.take() {
            // Should it fail, the file is closed late, by the end of the sessions.
            Some(file) if !self.is_root || file.group_error().is_some() => drop(file.detach()),
            // Dropping the file closes it.
            _ => {}
        }
    }
}

impl File {
    pub(crate) fn new(
        group: Group,
        members: Vec<ClientId>,
        client: SharedClient,
        file: blocking::File,
        terms: Terms,
    ) -> File {
        let Terms { path, amode, hints, report } = terms;
        let report = Report::begin(report, &client);
        group.watch(file.group_watch());
        let file = Attached { file: Some(file), is_root: group.is_root() };
        let (atomic, unreported) = (Atomicity::default(), RefCell::new(None));
        let views = Views::new(group.size());
        File { views, atomic, file, client, group, members, amode, hints, path, unreported, report }
    }

    /// The file's size in bytes. Not collective.
    pub fn get_size(&self) -> Result<u64, Error> {
        Ok(self.own_io()?.size()?)
    }

    /// Cuts or extends the file to `bytes`. Collective: all ranks give the same size.
    pub fn set_size(&self, bytes: u64) -> Result<(), Error> {
        let entries = self.group.enter(Call::SetSize, self.check_size(bytes).map(|()| [bytes, 0, 0, 0]))?;
        if let Some(rank) = entries.iter().position(|entry| entry[0] != entries[0][0]) {
            let message =
                format!("set_size: rank 0 gives {} bytes and rank {rank} {}", entries[0][0], entries[rank][0]);
            return Err(Error::new(ErrorClass::NotSame, message));
        }
        let size = self.group.ask(ROOT, || {
            self.io().set_size(bytes)?;
            Ok(encode_size(self.io().known_size()))
        })?;
        self.io().learn_size(decode_size(&size));
        Ok(())
    }

    fn check_size(&self, bytes: u64) -> Result<(), Error> {
        self.check_writable()?;
        if bytes > MAX_FILE_BYTES {
            let message = format!("a size of {bytes} bytes is more than the largest, {MAX_FILE_BYTES}");
            return Err(Error::new(ErrorClass::Arg, message));
        }
        Ok(())
    }

    /// Makes what all ranks have written durable. Collective.
    pub fn sync(&self) -> Result<(), Error> {
        self.group.enter(Call::Sync, Ok([0; 4]))?;
        self.make_durable()
    }

    /// Every rank commits its objects, and rank 0 reports them and the size. What was committed is reported even
    /// if another rank's commit failed, so that the next sync need not do it again.
    fn make_durable(&self) -> Result<(), Error> {
        let (summary, committed) = self.commit();
        let summaries = self.group.gather(&summary.to_bytes())?;
        let reported = self.group.ask(ROOT, || self.report(&summaries).map(|()| Vec::new()));
        self.group.agree(committed)?;
        reported.map(drop)
    }

    /// Commits what was written under the group's token and under the rank's own.
    fn commit(&self) -> (CommitSummary, Result<(), Error>) {
        let own = self.atomic.own().map(|own| own.commit());
        let mut done = (CommitSummary::default(), Ok(()));
        for committed in [Some(self.file.commit()), own].into_iter().flatten() {
            match committed {
                Ok(summary) => done.0 = done.0.merge(summary),
                Err(error) => done.1 = done.1.and(Err(error.into())),
            }
        }
        done
    }

    fn report(&self, summaries: &[Vec<u8>]) -> Result<(), Error> {
        let mut all = self.unreported.borrow_mut().take();
        for bytes in summaries.iter().filter(|bytes| !bytes.is_empty()) {
            let summary = CommitSummary::from_bytes(bytes)?;
            all = Some(match all {
                Some(all) => all.merge(summary),
                None => summary,
            });
        }
        let Some(all) = all else { return Ok(()) };
        let kept = all.clone();
        self.file.report_sync(all).inspect_err(|_| *self.unreported.borrow_mut() = Some(kept))?;
        Ok(())
    }

    /// Makes everything durable and closes the file on all ranks. Collective. The file is closed in any case; an
    /// error says what may be missing in it. If a rank of the file was given up, each of the others makes what it wrote
    /// itself durable, waits for nobody, and gets the error that says so.
    pub fn close(self) -> Result<(), Error> {
        let entered = self.group.enter(Call::Close, Ok([0; 4]));
        let durable = entered.and_then(|_| self.make_durable());
        if let Some(lost) = self.group.lost().cloned() {
            return Err(self.close_alone(lost));
        }
        let own = self.atomic.close();
        let File { file, client, group, amode, path, report, .. } = self;
        // The root closes for the group when nobody uses the file any more. From here on a dead rank is not told: the
        // group is no more. But nobody waits for anything that is not bounded in time.
        group.bounded();
        let (file, detached) = file.into_roots();
        let detached = group.agree(detached);
        let own = group.agree(own);
        let closed = group.ask(ROOT, || {
            // What a rank could not let go of is closed by the end of the sessions: its bytes may not go to others yet.
            let close = if detached.is_ok() { blocking::File::close } else { blocking::File::detach };
            let closed = file.map_or(Ok(()), close);
            if amode.contains(AccessMode::DELETE_ON_CLOSE) {
                client.remove(&path, Some(EntryKind::File))?;
            }
            closed?;
            Ok(Vec::new())
        });
        let reported = report.print(&group, &client, path.as_str());
        durable.and(own).and(detached).and(closed.map(drop)).and(reported)
    }

    /// The end of a file whose group is lost: nobody can tell when the other ranks are done with it, so every rank lets go
    /// and nobody closes it. The metadata server does when the last of their sessions has ended.
    fn close_alone(mut self, lost: Error) -> Error {
        let file = self.file.file.take();
        let own = self.atomic.close();
        let synced = file.as_ref().map_or(Ok(()), |file| file.sync().map_err(Error::from)).and(own);
        file.into_iter().for_each(|file| drop(file.detach()));
        match synced {
            Ok(()) => lost,
            Err(error) => lost.and(format_args!("what this rank wrote was not all made durable: {error}")),
        }
    }

    /// The access mode of the open.
    pub fn get_amode(&self) -> AccessMode {
        self.amode
    }

    /// Every hint in effect.
    pub fn get_info(&self) -> Info {
        let recipe = self.file.recipe();
        let aggregators = self.hints.aggregators(recipe.stripe_count(), self.group.size());
        let mut info: Info = self.hints.pairs().into_iter().collect();
        info.set("striping_unit", recipe.stripe_unit());
        info.set("striping_factor", recipe.stripe_count());
        info.set("cb_nodes", aggregators);
        info
    }

    /// The file's place in the file system.
    pub fn path(&self) -> &PfsPath {
        &self.path
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
