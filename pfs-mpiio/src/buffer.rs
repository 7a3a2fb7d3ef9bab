//! Buffers as the bytes of a file.
//!
//! In the data representation `native` these are the bytes of memory: without gaps they are used where they are; others are
//! packed into one piece before a write, and put into their places after a read. Gaps are neither read nor written. In other
//! representations packed values are converted, into another piece.

use crate::datarep::Representation;
use crate::datatype;
use crate::error::Error;
use crate::group::Group;
use crate::signature::Signature;
use crate::status::Status;
use mpi::ffi::{self, MPI_Datatype};
use mpi::traits::*;
use pfs_core::datatype::Datatype;
use std::borrow::Cow;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Deref;
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// Memory that a file is written from: every [`Buffer`] of rsmpi, [`Large`] and [`RawBuffer`].
///
/// # Safety
/// The values that are described are there, initialised, and do not change as long as the borrow of `self` lasts.
pub unsafe trait Source {
    /// Whether this is memory at all. An access fails with the error; one of all ranks does on all of them.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Says where the values are, how many, and of which datatype, whose handle is alive during the call of `to`.
    fn describe<R>(&self, to: impl FnOnce(*const c_void, u64, MPI_Datatype) -> R) -> R;
}

/// Memory that a file is read into: every [`BufferMut`] of rsmpi, [`LargeMut`] and [`RawBufferMut`].
///
/// # Safety
/// The values that are described are there and are nobody else's as long as the borrow of `self` lasts; any bytes may be
/// put there.
pub unsafe trait Destination {
    /// Whether this is memory at all. An access fails with the error; one of all ranks does on all of them.
    fn check_mut(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Says where the values are, how many, and of which datatype, whose handle is alive during the call of `to`.
    fn describe_mut<R>(&mut self, to: impl FnOnce(*mut c_void, u64, MPI_Datatype) -> R) -> R;
}

// SAFETY: what rsmpi's trait promises.
unsafe impl<B: Buffer + ?Sized> Source for B {
    fn describe<R>(&self, to: impl FnOnce(*const c_void, u64, MPI_Datatype) -> R) -> R {
        let datatype = self.as_datatype();
        to(self.pointer(), values(self.count()), datatype.as_raw())
    }
}

// SAFETY: what rsmpi's trait promises.
unsafe impl<B: BufferMut + ?Sized> Destination for B {
    fn describe_mut<R>(&mut self, to: impl FnOnce(*mut c_void, u64, MPI_Datatype) -> R) -> R {
        let datatype = self.as_datatype();
        let (count, raw) = (values(self.count()), datatype.as_raw());
        to(self.pointer_mut(), count, raw)
    }
}

/// A slice of any length. rsmpi counts the values of a buffer in 31 bits and panics if a slice has more.
#[derive(Clone, Copy, Debug)]
pub struct Large<'a, T>(pub &'a [T]);

/// A slice of any length to read into; see [`Large`].
#[derive(Debug)]
pub struct LargeMut<'a, T>(pub &'a mut [T]);

// SAFETY: the slice is borrowed.
unsafe impl<T: Equivalence> Source for Large<'_, T> {
    fn describe<R>(&self, to: impl FnOnce(*const c_void, u64, MPI_Datatype) -> R) -> R {
        let datatype = T::equivalent_datatype();
        to(self.0.as_ptr().cast(), self.0.len() as u64, datatype.as_raw())
    }
}

// SAFETY: the slice is borrowed exclusively, and any bytes are values of a type with an MPI equivalent, as rsmpi has it.
unsafe impl<T: Equivalence> Destination for LargeMut<'_, T> {
    fn describe_mut<R>(&mut self, to: impl FnOnce(*mut c_void, u64, MPI_Datatype) -> R) -> R {
        let datatype = T::equivalent_datatype();
        to(self.0.as_mut_ptr().cast(), self.0.len() as u64, datatype.as_raw())
    }
}

/// Values of an MPI datatype at an address, to be written.
#[derive(Clone, Debug)]
pub struct RawBuffer {
    pointer: *const c_void,
    count: u64,
    datatype: MPI_Datatype,
    checked: Result<(), Error>,
}

/// Values of an MPI datatype at an address, to be read into.
#[derive(Debug)]
pub struct RawBufferMut {
    pointer: *mut c_void,
    count: u64,
    datatype: MPI_Datatype,
    checked: Result<(), Error>,
}

impl RawBuffer {
    /// `count` values of `datatype` at `pointer`, laid out as MPI has it (the address may be that of no value, as after
    /// `MPI_BOTTOM`).
    ///
    /// # Safety
    /// As long as the value is used, the datatype is a handle that is alive, and the values are there, initialised, and do not
    /// change.
    pub unsafe fn new(pointer: *const c_void, count: u64, datatype: MPI_Datatype) -> Self {
        RawBuffer { pointer, count, datatype, checked: Ok(()) }
    }

    /// No memory: what a rank gives for its part in an access of all ranks if its arguments are wrong, so that all learn of it.
    pub fn invalid(error: Error) -> Self {
        // SAFETY: a constant of MPI. Nothing of it is used.
        let datatype = unsafe { ffi::RSMPI_DATATYPE_NULL };
        RawBuffer { pointer: std::ptr::null(), count: 0, datatype, checked: Err(error) }
    }
}

impl RawBufferMut {
    /// `count` values of `datatype` at `pointer`, laid out as MPI has it.
    ///
    /// # Safety
    /// As long as the value is used, the datatype is a handle that is alive, and the values are there and are nobody else's.
    pub unsafe fn new(pointer: *mut c_void, count: u64, datatype: MPI_Datatype) -> Self {
        RawBufferMut { pointer, count, datatype, checked: Ok(()) }
    }

    /// No memory; see [`RawBuffer::invalid`].
    pub fn invalid(error: Error) -> Self {
        // SAFETY: a constant of MPI. Nothing of it is used.
        let datatype = unsafe { ffi::RSMPI_DATATYPE_NULL };
        RawBufferMut { pointer: std::ptr::null_mut(), count: 0, datatype, checked: Err(error) }
    }
}

// SAFETY: promised to `new`.
unsafe impl Source for RawBuffer {
    fn check(&self) -> Result<(), Error> {
        self.checked.clone()
    }

    fn describe<R>(&self, to: impl FnOnce(*const c_void, u64, MPI_Datatype) -> R) -> R {
        to(self.pointer, self.count, self.datatype)
    }
}

// SAFETY: promised to `new`.
unsafe impl Destination for RawBufferMut {
    fn check_mut(&self) -> Result<(), Error> {
        self.checked.clone()
    }

    fn describe_mut<R>(&mut self, to: impl FnOnce(*mut c_void, u64, MPI_Datatype) -> R) -> R {
        to(self.pointer, self.count, self.datatype)
    }
}

fn values(count: mpi::Count) -> u64 {
    u64::try_from(count).expect("a buffer has no negative number of values")
}

fn length(layout: &Datatype) -> usize {
    usize::try_from(layout.size()).expect("the data of a buffer lies in memory")
}

fn index(displacement: i64) -> isize {
    isize::try_from(displacement).expect("the data of a buffer lies in memory")
}

/// The bytes of a file that a buffer to be written makes.
pub(crate) struct Bytes<'a> {
    file: Cow<'a, [u8]>,
    memory_bytes: u64,
}

impl Deref for Bytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.file
    }
}

impl Bytes<'_> {
    /// What is to be told when all of it was written.
    pub(crate) fn status(&self) -> Status {
        Status::new(self.memory_bytes, self.file.len() as u64)
    }
}

/// The bytes of a file of a group that a buffer to be written makes.
pub(crate) fn bytes<'a, S: Source + ?Sized>(
    buffer: &'a S,
    representation: &Representation,
    group: &Group,
) -> Result<Bytes<'a>, Error> {
    buffer.check()?;
    buffer.describe(|place, count, datatype| {
        group.check_committed(datatype)?;
        let layout = Datatype::contiguous(count, &datatype::flatten_raw(datatype)?)?;
        // SAFETY: a `Source` promises that the values are there and stay as long as the borrow.
        let packed = unsafe { packed(place.cast(), &layout) };
        let memory_bytes = layout.size();
        if representation.is_native() {
            return Ok(Bytes { file: packed, memory_bytes });
        }
        let file = Cow::Owned(Signature::of(count, datatype)?.write(representation, &packed)?);
        Ok(Bytes { file, memory_bytes })
    })
}

/// The data of a layout at a place.
///
/// # Safety
/// All segments of the layout are initialised and do not change during `'a`.
unsafe fn packed<'a>(place: *const u8, layout: &Datatype) -> Cow<'a, [u8]> {
    if layout.size() == 0 {
        return Cow::Borrowed(&[]);
    }
    // SAFETY: the caller's promise.
    let part = |displacement, bytes| unsafe { from_raw_parts(place.wrapping_offset(index(displacement)), bytes) };
    if layout.is_contiguous() {
        return Cow::Borrowed(part(layout.true_lower_bound(), length(layout)));
    }
    let mut packed = Vec::with_capacity(length(layout));
    for segment in layout.segments(0, layout.size()) {
        packed.extend_from_slice(part(segment.displacement, segment.length as usize));
    }
    Cow::Owned(packed)
}

/// The bytes of a file that a buffer to be read into takes.
pub(crate) struct Target<'a> {
    place: Place<'a>,
    converted: Option<Converted>,
}

/// The bytes of memory.
enum Place<'a> {
    /// Without gaps, where they are.
    InPlace(&'a mut [u8]),
    /// With gaps.
    Spread(Spread<'a>),
}

/// Bytes that are put into their places by [`Target::finish`].
struct Spread<'a> {
    packed: Vec<u8>,
    place: *mut u8,
    layout: Datatype,
    buffer: PhantomData<&'a mut [u8]>,
}

// SAFETY: it stands for an exclusive borrow of bytes, which may be given to another thread.
unsafe impl Send for Spread<'_> {}

/// The bytes of a file that are not those of memory.
struct Converted {
    file: Vec<u8>,
    signature: Signature,
    representation: Representation,
}

/// The bytes of a file of a group that a buffer to be read into takes.
pub(crate) fn target<'a, D: Destination + ?Sized>(
    buffer: &'a mut D,
    representation: &Representation,
    group: &Group,
) -> Result<Target<'a>, Error> {
    buffer.check_mut()?;
    buffer.describe_mut(|place, count, datatype| {
        group.check_committed(datatype)?;
        let layout = Datatype::contiguous(count, &datatype::flatten_raw(datatype)?)?;
        let converted = match representation.is_native() {
            true => None,
            false => Some(Converted::new(Signature::of(count, datatype)?, representation)?),
        };
        // SAFETY: a `Destination` promises that the values are nobody else's as long as the borrow.
        Ok(Target { place: unsafe { Place::of(place.cast(), layout) }, converted })
    })
}

impl Converted {
    fn new(signature: Signature, representation: &Representation) -> Result<Converted, Error> {
        let bytes = usize::try_from(signature.file_bytes(representation)?).expect("the data lies in memory");
        Ok(Converted { file: vec![0; bytes], signature, representation: representation.clone() })
    }
}

impl<'a> Place<'a> {
    /// # Safety
    /// All segments of the layout are nobody else's during `'a`, and any bytes may be put there.
    unsafe fn of(place: *mut u8, layout: Datatype) -> Place<'a> {
        if layout.size() == 0 {
            return Place::InPlace(&mut []);
        }
        if layout.is_contiguous() {
            let start = place.wrapping_offset(index(layout.true_lower_bound()));
            // SAFETY: the caller's promise.
            return Place::InPlace(unsafe { from_raw_parts_mut(start, length(&layout)) });
        }
        Place::Spread(Spread { packed: vec![0; length(&layout)], place, layout, buffer: PhantomData })
    }

    fn packed(&mut self) -> &mut [u8] {
        match self {
            Place::InPlace(bytes) => bytes,
            Place::Spread(spread) => &mut spread.packed,
        }
    }

    /// The first `read` bytes of the data are there; what follows in the buffer stays as it was.
    fn finish(self, read: usize) {
        let Place::Spread(Spread { packed, place, layout, .. }) = self else { return };
        let mut rest = &packed[..read];
        for segment in layout.segments(0, read as u64) {
            let (part, after) = rest.split_at(segment.length as usize);
            // SAFETY: as promised to `of`: the segment is a part of the buffer, which is borrowed exclusively until here.
            let to = unsafe {
                from_raw_parts_mut(place.wrapping_offset(index(segment.displacement)), segment.length as usize)
            };
            to.copy_from_slice(part);
            rest = after;
        }
    }
}

impl Target<'_> {
    /// The bytes of the file, in one piece.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        match &mut self.converted {
            None => self.place.packed(),
            Some(converted) => &mut converted.file,
        }
    }

    /// The first `read` bytes of the file are there; what follows in the buffer stays as it was. Returns what is to be told.
    pub(crate) fn finish(mut self, read: usize) -> Result<Status, Error> {
        let bytes = match &self.converted {
            None => read,
            Some(Converted { file, signature, representation }) => {
                signature.read(representation, &file[..read], self.place.packed())?
            }
        };
        self.place.finish(bytes);
        Ok(Status::new(bytes as u64, read as u64))
    }
}
