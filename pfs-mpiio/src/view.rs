//! A file's view on each rank, and the individual file pointer that counts in it.
//!
//! Invariants: every rank knows the views of all ranks, so a collective access is told by a position and a length; the
//! file pointer is a position in bytes of the view's data, always at the start of an etype.

use crate::amode::AccessMode;
use crate::datarep::Representation;
use crate::datatype::flatten_for;
use crate::error::{Error, ErrorClass};
use crate::file::{File, OpenFile};
use crate::group::Call;
use crate::times::{Counter, Phase};
use mpi::datatype::Datatype as MpiDatatype;
use pfs_core::collective::{Access, BeyondLimits};
use pfs_core::datatype::{DecodeError, View, ViewError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// As the displacement of a view: where the shared file pointer is (MPI's `MPI_DISPLACEMENT_CURRENT`). Only for a file in
/// [`SEQUENTIAL`](AccessMode::SEQUENTIAL) mode, and the only one for it.
pub const DISPLACEMENT_CURRENT: u64 = u64::MAX;

/// What the ranks see of a file.
pub(crate) struct Views {
    seen: Mutex<Seen>,
    /// The individual file pointer.
    pointer: AtomicU64,
    /// Whether this rank may have moved the shared file pointer since the view was set.
    has_shared: AtomicBool,
}

struct Seen {
    own: Arc<View>,
    by_rank: Vec<Arc<View>>,
    /// All of them are the same.
    are_same: bool,
    /// How the file stores values; the same on all ranks.
    representation: Representation,
}

/// From where a file pointer is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    /// From the start of the view.
    Set,
    /// From where it is.
    Current,
    /// From the end of the file, as far as the view shows it.
    End,
}

impl Views {
    /// Every rank sees all bytes.
    pub(crate) fn new(ranks: u32) -> Views {
        let all: Arc<View> = Arc::default();
        let representation = Representation::Native("native");
        let seen = Seen { by_rank: vec![all.clone(); ranks as usize], own: all, are_same: true, representation };
        Views { seen: Mutex::new(seen), pointer: AtomicU64::new(0), has_shared: AtomicBool::new(false) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn own(&self) -> Arc<View> {
        self.seen().own.clone()
    }

    /// Whether all ranks have the same view.
    pub(crate) fn are_same(&self) -> bool {
        self.seen().are_same
    }

    /// This rank may move the shared file pointer.
    pub(crate) fn note_shared(&self) {
        self.has_shared.store(true, Ordering::Release);
    }

    /// The shared file pointer is at the start of the view.
    pub(crate) fn forget_shared(&self) {
        self.has_shared.store(false, Ordering::Release);
    }

    /// How the file stores values.
    pub(crate) fn representation(&self) -> Representation {
        self.seen().representation.clone()
    }

    /// The access of another rank, which has found that it is possible.
    pub(crate) fn access(&self, rank: usize, position: u64, length: u64) -> Result<Access, Error> {
        let view = self.seen().by_rank[rank].clone();
        Ok(Access::new(view, position, length)?)
    }

    pub(crate) fn pointer(&self) -> u64 {
        self.pointer.load(Ordering::Acquire)
    }

    pub(crate) fn set_pointer(&self, position: u64) {
        self.pointer.store(position, Ordering::Release);
    }
}

impl File {
    /// Sets what this rank sees of the file: copies of `filetype` one behind the other from `displacement` bytes on, in units
    /// of `etype`. All file pointers, the shared one too, go to the view's start. Collective: the etypes of all ranks have the same size, and the
    /// data representation is the same.
    pub fn set_view<E: MpiDatatype, F: MpiDatatype>(
        &self,
        displacement: u64,
        etype: &E,
        filetype: &F,
        representation: &str,
    ) -> Result<(), Error> {
        let displacement = self.run(self.open.displacement(displacement))?;
        let own = self.open.check_view(displacement, etype, filetype, representation);
        let (name, has_shared) = (number_of(representation), self.open.views.has_shared.load(Ordering::Acquire));
        let terms = own.as_ref().map(|(view, _)| [view.etype_bytes(), name, u64::from(has_shared), 0]);
        let terms = terms.map_err(Clone::clone);
        self.open.times.note(Counter::Views);
        self.run_in_turn(self.open.times.during(Phase::Meta, self.open.set_view(own, terms)))
    }

    /// The data representation of the view, by its name.
    pub fn get_datarep(&self) -> String {
        self.open.views.representation().name().to_owned()
    }

    /// Bytes from one value of a datatype to the next in this file, whose data representation may store values in other
    /// sizes than memory has. Displacements in bytes of file types count in these.
    pub fn get_type_extent<D: MpiDatatype>(&self, datatype: &D) -> Result<i64, Error> {
        Ok(flatten_for(datatype.as_raw(), &self.open.views.representation())?.extent())
    }

    /// What this rank sees of the file.
    pub fn get_view(&self) -> Arc<View> {
        self.open.views.own()
    }

    /// Sets the individual file pointer to `offset` etypes from the given place.
    pub fn seek(&self, offset: i64, whence: Whence) -> Result<(), Error> {
        self.run(self.open.seek(offset, whence))
    }

    /// Where the individual file pointer is, in etypes.
    pub fn get_position(&self) -> u64 {
        self.open.views.pointer() / self.open.views.own().etype_bytes()
    }

    /// The place in the file, in bytes, of an offset in etypes of the view.
    pub fn get_byte_offset(&self, offset: u64) -> Result<u64, Error> {
        let view = self.open.views.own();
        let found = offset.checked_mul(view.etype_bytes()).and_then(|position| view.file_offset(position));
        found.ok_or_else(|| Error::new(ErrorClass::Arg, format!("the view has no offset {offset}")))
    }
}

impl OpenFile {
    /// The displacement that was asked for. In sequential mode it is where the shared file pointer is; collective then.
    async fn displacement(&self, asked: u64) -> Result<u64, Error> {
        let refused = |why| Err(Error::new(ErrorClass::Arg, format!("set_view: {why}")));
        if !self.amode.contains(AccessMode::SEQUENTIAL) {
            return match asked {
                // The check of the view tells the other ranks.
                DISPLACEMENT_CURRENT => Ok(u64::MAX),
                asked => Ok(asked),
            };
        }
        let own = match asked {
            DISPLACEMENT_CURRENT => Ok([0; 4]),
            _ => refused("a file in MPI_MODE_SEQUENTIAL takes only DISPLACEMENT_CURRENT"),
        };
        self.group.enter(Call::SetView, own).await?;
        self.current_displacement().await
    }

    /// Tells the other ranks this rank's view, or that it has none that is possible. `terms` must be the same on all ranks.
    async fn set_view(
        &self,
        own: Result<(View, Representation), Error>,
        terms: Result<[u64; 4], Error>,
    ) -> Result<(), Error> {
        let entries = self.group.enter(Call::SetView, terms).await?;
        if let Some(rank) = entries.iter().position(|entry| entry[..2] != entries[0][..2]) {
            let message = format!("set_view: rank 0 and rank {rank} give another etype or data representation");
            return Err(Error::new(ErrorClass::NotSame, message));
        }
        let (own, representation) = own?;
        let mut numbers = Vec::new();
        own.encode(&mut numbers);
        let all = self.group.all_gather_numbers(&numbers).await?;
        let are_same = all.iter().all(|numbers| numbers == &all[0]);
        let views = all.into_iter().map(|numbers| Ok(Arc::new(View::decode(&mut numbers.into_iter())?)));
        let views = views.collect::<Result<Vec<_>, Error>>();
        let by_rank = self.group.agree(views).await?;
        *self.views.seen() = Seen { own: Arc::new(own), by_rank, are_same, representation };
        self.views.set_pointer(0);
        self.reset_shared(entries.iter().any(|[_, _, has_shared, _]| *has_shared != 0)).await
    }

    fn check_view<E: MpiDatatype, F: MpiDatatype>(
        &self,
        displacement: u64,
        etype: &E,
        filetype: &F,
        representation: &str,
    ) -> Result<(View, Representation), Error> {
        if displacement == DISPLACEMENT_CURRENT {
            let message = "set_view: DISPLACEMENT_CURRENT is only for files in MPI_MODE_SEQUENTIAL";
            return Err(Error::new(ErrorClass::Arg, message));
        }
        let representation = Representation::find(representation)?;
        let flat = |datatype| {
            self.group.check_committed(datatype)?;
            flatten_for(datatype, &representation)
        };
        let view = View::new(displacement, &flat(etype.as_raw())?, &flat(filetype.as_raw())?)?;
        // Copies that share bytes are as if there was one: libraries give types of one piece of work whatever extent.
        let is_alone = self.amode.can_write() && !view.is_disjoint();
        let view = if is_alone { view.of_one_copy() } else { view };
        if is_alone && !view.is_disjoint() {
            let message = "a file type that names a byte twice is possible only for a file that is open for reading";
            return Err(Error::new(ErrorClass::Io, message));
        }
        Ok((view, representation))
    }

    async fn seek(&self, offset: i64, whence: Whence) -> Result<(), Error> {
        self.check_not_sequential("seek")?;
        let to = self.place(offset, self.start_of(whence).await?)?;
        self.views.set_pointer(to);
        Ok(())
    }

    /// From where an offset counts, in bytes of the view's data.
    pub(crate) async fn start_of(&self, whence: Whence) -> Result<u64, Error> {
        let view = self.views.own();
        Ok(match whence {
            Whence::Set => 0,
            Whence::Current => self.views.pointer(),
            Whence::End => view.data_before(self.own_io()?.size().await?).next_multiple_of(view.etype_bytes()),
        })
    }

    /// A place so many etypes from another one.
    pub(crate) fn place(&self, offset: i64, from: u64) -> Result<u64, Error> {
        let etype = i64::try_from(self.views.own().etype_bytes()).unwrap_or(i64::MAX);
        let to = offset.checked_mul(etype).and_then(|way| from.checked_add_signed(way));
        to.filter(|to| i64::try_from(*to).is_ok()).ok_or_else(|| {
            let message = format!("a file pointer can not be {offset} etypes from byte {from} of the view");
            Error::new(ErrorClass::Arg, message)
        })
    }

    /// Refuses what a file in sequential mode has not.
    pub(crate) fn check_not_sequential(&self, call: &str) -> Result<(), Error> {
        if !self.amode.contains(AccessMode::SEQUENTIAL) {
            return Ok(());
        }
        let message =
            format!("{call}: {} is open with {}: only its shared file pointer can be used", self.path, self.amode);
        Err(Error::new(ErrorClass::UnsupportedOperation, message))
    }

    /// `bytes` bytes of the view's data from an offset in etypes on.
    pub(crate) fn access_at(&self, offset: u64, bytes: usize) -> Result<Access, Error> {
        self.check_not_sequential("an access at an offset")?;
        let etype = self.views.own().etype_bytes();
        let position = offset.checked_mul(etype).ok_or_else(|| {
            Error::new(ErrorClass::Arg, format!("an offset of {offset} etypes is past the largest file offset"))
        })?;
        self.access_from(position, bytes)
    }

    /// The same from where the individual file pointer is.
    pub(crate) fn access_here(&self, bytes: usize) -> Result<Access, Error> {
        self.check_not_sequential("an access at the individual file pointer")?;
        self.access_from(self.views.pointer(), bytes)
    }

    pub(crate) fn access_from(&self, position: u64, bytes: usize) -> Result<Access, Error> {
        let (view, bytes) = (self.views.own(), bytes as u64);
        if !bytes.is_multiple_of(view.etype_bytes()) {
            let message = format!("{bytes} bytes are no whole number of etypes, which have {}", view.etype_bytes());
            return Err(Error::new(ErrorClass::Arg, message));
        }
        Ok(Access::new(view, position, bytes)?)
    }
}

/// A number that names differ in, with all but certainty (FNV-1a).
fn number_of(name: &str) -> u64 {
    let mix = |number: u64, byte: u8| (number ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, mix)
}

impl From<BeyondLimits> for Error {
    fn from(error: BeyondLimits) -> Error {
        Error::new(ErrorClass::Arg, error.to_string())
    }
}

impl From<ViewError> for Error {
    /// The standard names no classes for these; they are those that ROMIO has.
    fn from(error: ViewError) -> Error {
        let class = match error {
            ViewError::Negative(_) | ViewError::Backwards => ErrorClass::Io,
            ViewError::EmptyEtype | ViewError::NotWhole { .. } | ViewError::Displacement(_) => ErrorClass::Arg,
        };
        Error::new(class, error.to_string())
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Error {
        Error::new(ErrorClass::Io, error.to_string())
    }
}
