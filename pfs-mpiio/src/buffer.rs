//! Buffers of rsmpi as bytes.
//!
//! A buffer's datatype must be contiguous: a predefined type, or such a type repeated or duplicated. Its values are
//! stored as they are in memory (the data representation `native`).

use crate::error::{Error, ErrorClass};
use mpi::datatype::UserDatatype;
use mpi::ffi::{self, MPI_Datatype};
use mpi::traits::*;
use std::os::raw::c_int;
use std::sync::OnceLock;

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

/// How a datatype was made.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Envelope {
    combiner: c_int,
    integers: c_int,
}

impl Envelope {
    fn of(datatype: MPI_Datatype) -> Envelope {
        let (mut integers, mut addresses, mut types, mut combiner) = (0, 0, 0, 0);
        // SAFETY: the caller's datatype is alive, the variables live during the call.
        unsafe { ffi::MPI_Type_get_envelope(datatype, &mut integers, &mut addresses, &mut types, &mut combiner) };
        Envelope { combiner, integers }
    }
}

/// The numbers of three combiners. MPIs differ in them and in how their headers define them, so MPI itself is asked,
/// by the envelopes of types that are made for it.
struct Combiners {
    named: c_int,
    contiguous: c_int,
    duplicate: c_int,
}

impl Combiners {
    fn get() -> &'static Combiners {
        static COMBINERS: OnceLock<Combiners> = OnceLock::new();
        COMBINERS.get_or_init(|| {
            let byte = u8::equivalent_datatype();
            let contiguous = UserDatatype::contiguous(2, &byte);
            Combiners {
                named: Envelope::of(byte.as_raw()).combiner,
                contiguous: Envelope::of(contiguous.as_raw()).combiner,
                duplicate: Envelope::of(byte.dup().as_raw()).combiner,
            }
        })
    }
}

/// Whether values of a type lie one after the other without gaps and in order.
fn is_contiguous(datatype: MPI_Datatype) -> bool {
    let (envelope, combiners) = (Envelope::of(datatype), Combiners::get());
    if envelope.combiner == combiners.named {
        return true;
    }
    if envelope.combiner != combiners.contiguous && envelope.combiner != combiners.duplicate {
        return false;
    }
    inner_type(datatype, envelope.integers).is_some_and(|mut inner| {
        let contiguous = is_contiguous(inner);
        // Of the types that were asked for, only derived ones are new handles to be freed.
        if Envelope::of(inner).combiner != combiners.named {
            // SAFETY: the handle came from `MPI_Type_get_contents` and is not used again.
            unsafe { ffi::MPI_Type_free(&mut inner) };
        }
        contiguous
    })
}

/// The type that a contiguous or duplicated type was made of.
fn inner_type(datatype: MPI_Datatype, integers: c_int) -> Option<MPI_Datatype> {
    // One more than needed, so that the array has an address when there are none.
    let mut counts = vec![0; usize::try_from(integers).ok()? + 1];
    let mut inner = [datatype];
    let mut addresses = [0];
    // SAFETY: the arrays have at least the sizes that the envelope named: `integers` counts, no address, one type.
    unsafe {
        let (counts, addresses) = (counts.as_mut_ptr(), addresses.as_mut_ptr());
        ffi::MPI_Type_get_contents(datatype, integers, 0, 1, counts, addresses, inner.as_mut_ptr())
    };
    Some(inner[0])
}
