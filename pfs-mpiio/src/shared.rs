//! The shared file pointer, which all ranks of a file have in common (MPI-4.1, 14.4.4).
//!
//! The metadata server has it, as a position in bytes of the view's data. An access of a rank draws what it needs, in one
//! call that moves the pointer and returns where it was, and then is an access at that place; so accesses are in the order in
//! which they drew, and no two have a byte in common. An ordered access is one draw of rank 0 for all ranks, which lie behind
//! each other in it by rank.
//!
//! Invariants: the pointer is at the start of an etype; a draw is whole etypes, and made only when the access is possible as
//! far as this rank can tell; the ranks have the same view whenever the pointer is used. It moves by what was asked for, also
//! when a read ends before at the end of the file.

use crate::amode::AccessMode;
use crate::buffer::{Bytes, Destination, Source, Target};
use crate::error::{Error, ErrorClass};
use crate::file::{File, OpenFile};
use crate::group::{Call, ROOT};
use crate::status::Status;
use crate::times::Counter;
use crate::view::Whence;
use pfs_core::collective::Access;
use pfs_core::pointer::PointerChange;

impl File {
    /// Reads into `buf` from where the shared file pointer is, which moves on by it. Not collective. Short only at the end of
    /// the file.
    pub fn read_shared<B: Destination + ?Sized>(&self, buf: &mut B) -> Result<Status, Error> {
        self.open.check_readable()?;
        self.open.times.note(Counter::IndependentReads);
        let mut target = self.open.target(buf)?;
        let read = self.run(async {
            let access = self.open.draw(target.bytes().len()).await?;
            self.open.read_access(&access, target.bytes()).await
        })?;
        self.open.finish(target, read)
    }

    /// Writes `buf` from where the shared file pointer is, which moves on by it. Not collective.
    pub fn write_shared<B: Source + ?Sized>(&self, buf: &B) -> Result<Status, Error> {
        self.open.check_writable()?;
        self.open.times.note(Counter::IndependentWrites);
        let bytes = self.open.bytes(buf)?;
        self.run(async {
            let access = self.open.draw(bytes.len()).await?;
            self.open.write_access(&access, &bytes).await
        })?;
        Ok(bytes.status())
    }

    /// Reads into every rank's `buf`, from where the shared file pointer is: the ranks' parts lie behind each other by rank,
    /// and the pointer moves on by all of them. Collective.
    pub fn read_ordered<B: Destination + ?Sized>(&self, buf: &mut B) -> Result<Status, Error> {
        let open = &self.open;
        let checked = open.check_free(Call::ReadOrdered).and_then(|()| open.check_readable());
        open.times.note(Counter::CollectiveReads);
        let target = checked.and_then(|()| open.target(buf));
        self.run_in_turn(open.read_ordered(Call::ReadOrdered, target))
    }

    /// Writes every rank's `buf`, from where the shared file pointer is: the ranks' parts lie behind each other by rank, and
    /// the pointer moves on by all of them. Collective.
    pub fn write_ordered<B: Source + ?Sized>(&self, buf: &B) -> Result<Status, Error> {
        let open = &self.open;
        let checked = open.check_free(Call::WriteOrdered).and_then(|()| open.check_writable());
        open.times.note(Counter::CollectiveWrites);
        let bytes = checked.and_then(|()| open.bytes(buf));
        self.run_in_turn(open.write_ordered(Call::WriteOrdered, bytes))
    }

    /// Sets the shared file pointer to `offset` etypes from the given place. Collective: all ranks give the same.
    pub fn seek_shared(&self, offset: i64, whence: Whence) -> Result<(), Error> {
        self.run_in_turn(self.open.seek_shared(offset, whence))
    }

    /// Where the shared file pointer is, in etypes. Other ranks may move it at any time. Not collective.
    pub fn get_position_shared(&self) -> Result<u64, Error> {
        self.run(self.open.get_position_shared())
    }
}

impl OpenFile {
    /// Reads into every rank's buffer behind those of the lower ranks.
    pub(crate) async fn read_ordered(&self, call: Call, target: Result<Target<'_>, Error>) -> Result<Status, Error> {
        let (target, length) = match target {
            Ok(mut target) => {
                let length = target.bytes().len();
                (Ok(target), Ok(length))
            }
            Err(error) => (Err(error.clone()), Err(error)),
        };
        let access = self.draw_ordered(call, length).await?;
        self.read_buffers(call, target.and_then(|target| Ok((access?, target)))).await
    }

    /// Writes every rank's buffer behind those of the lower ranks.
    pub(crate) async fn write_ordered(&self, call: Call, bytes: Result<Bytes<'_>, Error>) -> Result<Status, Error> {
        let length = bytes.as_ref().map(|bytes| bytes.len()).map_err(Error::clone);
        let access = self.draw_ordered(call, length).await?;
        self.write_buffers(call, bytes.and_then(|bytes| Ok((access?, bytes)))).await
    }

    /// So many bytes of the view's data for this rank's access alone.
    pub(crate) async fn draw(&self, bytes: usize) -> Result<Access, Error> {
        self.check_same_views()?;
        self.whole_etypes(bytes)?;
        self.views.note_shared();
        let before = self.file.move_pointer(PointerChange::Advance(bytes as u64)).await?;
        self.access_from(before.position, bytes)
    }

    /// The place of every rank's access behind those of the lower ranks, as far as this rank has one. Collective; an error of
    /// one rank is an error on all, and then nothing was drawn.
    pub(crate) async fn draw_ordered(
        &self,
        call: Call,
        length: Result<usize, Error>,
    ) -> Result<Result<Access, Error>, Error> {
        let own = length.and_then(|bytes| self.whole_etypes(bytes)).and_then(|bytes| {
            self.check_same_views()?;
            Ok([bytes, 0, 0, 0])
        });
        let bytes = own.as_ref().map_or(0, |[bytes, ..]| *bytes);
        let entries = self.group.enter(call, own).await?;
        self.views.note_shared();
        let sum = |entries: &[[u64; 4]]| entries.iter().try_fold(0u64, |sum, [bytes, ..]| sum.checked_add(*bytes));
        let too_many = || Error::new(ErrorClass::Arg, "all ranks' accesses together are larger than any file");
        let all = sum(&entries).ok_or_else(too_many)?;
        let own_rank = usize::try_from(self.group.rank()).expect("ranks fit");
        let before_own = sum(&entries[..own_rank]).ok_or_else(too_many)?;
        let draw = async {
            let before = self.file.move_pointer(PointerChange::Advance(all)).await?;
            Ok(before.position.to_le_bytes().to_vec())
        };
        let start = number(&self.group.ask(ROOT, draw).await?);
        Ok(self.access_from(start + before_own, usize::try_from(bytes).expect("it was a length")))
    }

    async fn seek_shared(&self, offset: i64, whence: Whence) -> Result<(), Error> {
        let own = self.check_not_sequential("seek_shared").and_then(|()| self.check_same_views());
        let terms = own.map(|()| [offset.cast_unsigned(), whence as u64, 0, 0]);
        let entries = self.group.enter(Call::SeekShared, terms).await?;
        if let Some(rank) = entries.iter().position(|entry| entry != &entries[0]) {
            let message = format!("seek_shared: rank 0 and rank {rank} give different places");
            return Err(Error::new(ErrorClass::NotSame, message));
        }
        self.views.note_shared();
        let seek = async {
            let from = match whence {
                Whence::Current => self.file.move_pointer(PointerChange::Advance(0)).await?.position,
                Whence::Set | Whence::End => self.start_of(whence).await?,
            };
            self.file.move_pointer(PointerChange::Set(self.place(offset, from)?)).await?;
            Ok(Vec::new())
        };
        self.group.ask(ROOT, seek).await.map(drop)
    }

    async fn get_position_shared(&self) -> Result<u64, Error> {
        self.check_not_sequential("get_position_shared")?;
        self.check_same_views()?;
        let pointer = self.file.move_pointer(PointerChange::Advance(0)).await?;
        Ok(pointer.position / self.views.own().etype_bytes())
    }

    /// Puts all file pointers to the end of the file, if it was opened to be appended to. Collective.
    pub(crate) async fn start_at_end(&self) -> Result<(), Error> {
        if !self.amode.contains(AccessMode::APPEND) {
            return Ok(());
        }
        let to_end = async {
            let end = self.file.size().await?;
            self.file.move_pointer(PointerChange::Set(end)).await?;
            Ok(end.to_le_bytes().to_vec())
        };
        self.views.set_pointer(number(&self.group.ask(ROOT, to_end).await?));
        self.views.note_shared();
        Ok(())
    }

    /// Where the shared file pointer is in the file, in bytes. Collective.
    pub(crate) async fn current_displacement(&self) -> Result<u64, Error> {
        let ask = async {
            let pointer = self.file.move_pointer(PointerChange::Advance(0)).await?;
            let place = self.views.own().file_offset(pointer.position);
            let place =
                place.ok_or_else(|| Error::new(ErrorClass::Arg, "the shared file pointer is past every file"))?;
            Ok(place.to_le_bytes().to_vec())
        };
        Ok(number(&self.group.ask(ROOT, ask).await?))
    }

    /// Puts the shared file pointer to the start of the view, if a rank has moved it. Collective.
    pub(crate) async fn reset_shared(&self, was_used: bool) -> Result<(), Error> {
        if !was_used {
            return Ok(());
        }
        let reset = async {
            self.file.move_pointer(PointerChange::Set(0)).await?;
            Ok(Vec::new())
        };
        self.group.ask(ROOT, reset).await?;
        self.views.forget_shared();
        Ok(())
    }

    fn whole_etypes(&self, bytes: usize) -> Result<u64, Error> {
        // The place does not matter for that.
        self.access_from(0, bytes).map(|_| bytes as u64)
    }

    fn check_same_views(&self) -> Result<(), Error> {
        if self.views.are_same() {
            return Ok(());
        }
        let message = "the ranks have different views, and the shared file pointer needs the same one on all";
        Err(Error::new(ErrorClass::NotSame, message))
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("rank 0 sends a number"))
}
