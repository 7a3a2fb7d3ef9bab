//! Buffers of rsmpi as bytes.
//!
//! A buffer's datatype must be contiguous: a predefined type, or such a type repeated or duplicated. Its values are
//! stored as they are in memory (the data representation `native`).

use crate::error::{Error, ErrorClass};
use mpi::ffi::{self, MPI_Datatype};
use mpi::traits::*;
use std::os::raw::c_int;
use std::ptr;

/// The bytes of a buffer to write.
pub(crate) fn bytes<B: Buffer + ?Sized>(buffer: &B) -> Result<&[u8], Error> {
    let length = length(buffer)?;
    if length == 0 {
        return Ok(&[]);
    }
    // SAFETY: a `Buffer` promises `count` values of its datatype at its pointer; the datatype is contiguous, so
    // they are `length` bytes from there on, initialised, and borrowed as long as the buffer.
    Ok(unsafe { std::slice::from_raw_parts(buffer.pointer().cast(), length) })
}

/// The bytes of a buffer to read into.
pub(crate) fn bytes_mut<B: BufferMut + ?Sized>(buffer: &mut B) -> Result<&mut [u8], Error> {
    let length = mut_length(buffer)?;
    if length == 0 {
        return Ok(&mut []);
    }
    // SAFETY: as in `bytes`; the exclusive borrow of the buffer lasts as long as the slice. MPI's contract with a
    // `BufferMut` is that any bytes may be received into it.
    Ok(unsafe { std::slice::from_raw_parts_mut(buffer.pointer_mut().cast(), length) })
}

fn length<B: Buffer + ?Sized>(buffer: &B) -> Result<usize, Error> {
    total(buffer.as_datatype().as_raw(), buffer.count())
}

fn mut_length<B: BufferMut + ?Sized>(buffer: &B) -> Result<usize, Error> {
    total(buffer.as_datatype().as_raw(), buffer.count())
}

fn total(datatype: MPI_Datatype, count: mpi::Count) -> Result<usize, Error> {
    if !is_contiguous(datatype) {
        let message = "the buffer's datatype is not contiguous; pack it into a buffer of a predefined type first";
        return Err(Error::new(ErrorClass::Type, message));
    }
    let mut size: c_int = 0;
    // SAFETY: the datatype is alive in the caller's buffer, and `size` during the call.
    unsafe { ffi::MPI_Type_size(datatype, &mut size) };
    let bytes = usize::try_from(size).ok().zip(usize::try_from(count).ok()).and_then(|(size, n)| size.checked_mul(n));
    bytes.ok_or_else(|| Error::new(ErrorClass::Arg, format!("a buffer of {count} values of {size} bytes is too large")))
}

/// Whether values of a type lie one after the other without gaps and in order.
fn is_contiguous(datatype: MPI_Datatype) -> bool {
    let (mut integers, mut addresses, mut types, mut combiner) = (0, 0, 0, 0);
    // SAFETY: the datatype is alive in the caller's buffer, the variables during the call.
    unsafe { ffi::MPI_Type_get_envelope(datatype, &mut integers, &mut addresses, &mut types, &mut combiner) };
    let is = |name: i64| i64::from(combiner) == name;
    if is(i64::from(ffi::MPI_COMBINER_NAMED)) {
        return true;
    }
    if !is(i64::from(ffi::MPI_COMBINER_CONTIGUOUS)) && !is(i64::from(ffi::MPI_COMBINER_DUP)) {
        return false;
    }
    inner_type(datatype, integers).is_some_and(|inner| {
        let contiguous = is_contiguous(inner);
        free_if_derived(inner);
        contiguous
    })
}

/// The type that a contiguous or duplicated type was made of.
fn inner_type(datatype: MPI_Datatype, integers: c_int) -> Option<MPI_Datatype> {
    let mut counts = vec![0; usize::try_from(integers).ok()?];
    let mut inner = [datatype];
    // SAFETY: the arrays have the sizes that the envelope named: `integers` counts, no address, one type.
    unsafe {
        ffi::MPI_Type_get_contents(datatype, integers, 0, 1, counts.as_mut_ptr(), ptr::null_mut(), inner.as_mut_ptr())
    };
    Some(inner[0])
}

/// Contents that are derived types are new handles, which their receiver frees; predefined ones must not be freed.
fn free_if_derived(mut datatype: MPI_Datatype) {
    let (mut integers, mut addresses, mut types, mut combiner) = (0, 0, 0, 0);
    // SAFETY: the handle came from `MPI_Type_get_contents`; it is freed only if it is not predefined.
    unsafe {
        ffi::MPI_Type_get_envelope(datatype, &mut integers, &mut addresses, &mut types, &mut combiner);
        if i64::from(combiner) != i64::from(ffi::MPI_COMBINER_NAMED) {
            ffi::MPI_Type_free(&mut datatype);
        }
    }
}
