//! Buffers of rsmpi as bytes, stored as they are in memory (the data representation `native`).
//!
//! Bytes without gaps are used where they are. Others are packed into one piece before a write, and put into their places
//! after a read; gaps are neither read nor written.

use crate::datatype;
use crate::error::{Error, ErrorClass};
use mpi::traits::*;
use pfs_core::datatype::Datatype;
use std::borrow::Cow;
use std::marker::PhantomData;
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// The data of a buffer: what its datatype and its count together name.
fn layout<B: AsDatatype + Collection + ?Sized>(buffer: &B) -> Result<Datatype, Error> {
    let count = u64::try_from(buffer.count())
        .map_err(|_| Error::new(ErrorClass::Arg, format!("a buffer has {} values", buffer.count())))?;
    Ok(Datatype::contiguous(count, &datatype::flatten_raw(buffer.as_datatype().as_raw())?)?)
}

fn length(layout: &Datatype) -> usize {
    usize::try_from(layout.size()).expect("the data of a buffer lies in memory")
}

fn index(displacement: i64) -> isize {
    isize::try_from(displacement).expect("the data of a buffer lies in memory")
}

/// The bytes of a buffer to write.
pub(crate) fn bytes<B: Buffer + ?Sized>(buffer: &B) -> Result<Cow<'_, [u8]>, Error> {
    let layout = layout(buffer)?;
    if layout.size() == 0 {
        return Ok(Cow::Borrowed(&[]));
    }
    let place = buffer.pointer().cast::<u8>();
    // SAFETY, for both: a `Buffer` promises `count` values of its datatype at its pointer, initialised and borrowed as long
    // as the buffer is. The segments are the bytes of these values.
    let part = |displacement, bytes| unsafe { from_raw_parts(place.wrapping_offset(index(displacement)), bytes) };
    if layout.is_contiguous() {
        return Ok(Cow::Borrowed(part(layout.true_lower_bound(), length(&layout))));
    }
    let mut packed = Vec::with_capacity(length(&layout));
    for segment in layout.segments(0, layout.size()) {
        packed.extend_from_slice(part(segment.displacement, segment.length as usize));
    }
    Ok(Cow::Owned(packed))
}

/// The bytes of a buffer to read into.
pub(crate) enum Target<'a> {
    /// Without gaps, where they are.
    InPlace(&'a mut [u8]),
    /// With gaps.
    Spread(Spread<'a>),
}

/// Bytes that are put into their places by [`Target::finish`].
pub(crate) struct Spread<'a> {
    packed: Vec<u8>,
    place: *mut u8,
    layout: Datatype,
    buffer: PhantomData<&'a mut [u8]>,
}

/// The bytes of a buffer to read into.
pub(crate) fn target<B: BufferMut + ?Sized>(buffer: &mut B) -> Result<Target<'_>, Error> {
    let layout = layout(buffer)?;
    if layout.size() == 0 {
        return Ok(Target::InPlace(&mut []));
    }
    let place = buffer.pointer_mut().cast::<u8>();
    if layout.is_contiguous() {
        let start = place.wrapping_offset(index(layout.true_lower_bound()));
        // SAFETY: as in `bytes`; the exclusive borrow of the buffer lasts as long as the slice. MPI's contract with a
        // `BufferMut` is that any bytes may be received into it.
        return Ok(Target::InPlace(unsafe { from_raw_parts_mut(start, length(&layout)) }));
    }
    Ok(Target::Spread(Spread { packed: vec![0; length(&layout)], place, layout, buffer: PhantomData }))
}

impl Target<'_> {
    /// The data in one piece.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        match self {
            Target::InPlace(bytes) => bytes,
            Target::Spread(spread) => &mut spread.packed,
        }
    }

    /// The first `read` bytes of the data are there; what follows in the buffer stays as it was.
    pub(crate) fn finish(self, read: usize) {
        let Target::Spread(Spread { packed, place, layout, .. }) = self else { return };
        let mut rest = &packed[..read];
        for segment in layout.segments(0, read as u64) {
            let (part, after) = rest.split_at(segment.length as usize);
            // SAFETY: as in `target`: the segment is a part of the buffer, which is borrowed exclusively until here.
            let to = unsafe {
                from_raw_parts_mut(place.wrapping_offset(index(segment.displacement)), segment.length as usize)
            };
            to.copy_from_slice(part);
            rest = after;
        }
    }
}
