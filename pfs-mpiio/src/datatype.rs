//! MPI's datatypes as [`Datatype`]s of the core.
//!
//! MPI tells how a type was made; each step is made again. In memory, sizes and bounds of every step are the ones that MPI
//! has for it, so alignment of structures and bounds of types of nothing are as this MPI has them. In a file whose values
//! have other sizes, displacements in elements count these, displacements and bounds in bytes are taken as they are, and
//! structures are not padded (MPI-4.1, 14.5.1).

use crate::contents::{Combiners, Contents, Envelope};
use crate::datarep::Representation;
use crate::error::{Error, ErrorClass};
use crate::pending::error_text;
use crate::signature::Signature;
use mpi::ffi::{self, MPI_Comm, MPI_Count, MPI_Datatype};
use mpi::traits::*;
use pfs_core::datatype::{Datatype, DatatypeError, Distribution, Order};
use std::os::raw::c_int;
use std::ptr;

/// Whether a datatype was made by a program, so that its handle is to be freed.
///
/// # Safety
/// The handle is alive.
pub unsafe fn is_derived(datatype: MPI_Datatype) -> Result<bool, Error> {
    Ok(Envelope::of(datatype)?.types > 0)
}

/// Which bytes a value of an MPI datatype has, in their order.
pub fn flatten<D: mpi::datatype::Datatype>(datatype: &D) -> Result<Datatype, Error> {
    flatten_raw(datatype.as_raw())
}

/// The same of a handle, which is alive.
pub(crate) fn flatten_raw(datatype: MPI_Datatype) -> Result<Datatype, Error> {
    flatten_for(datatype, &Representation::Native("native"))
}

/// Which bytes of a file a value has, if the file has this representation.
pub(crate) fn flatten_for(datatype: MPI_Datatype, representation: &Representation) -> Result<Datatype, Error> {
    let envelope = Envelope::of(datatype)?;
    let made = match envelope.types {
        0 if representation.is_native() => predefined(datatype)?,
        0 => Datatype::elementary(Signature::of(1, datatype)?.file_bytes(representation)?)?,
        _ => derived(&Contents::of(datatype, envelope)?, representation)?,
    };
    if !representation.is_native() {
        return Ok(made);
    }
    let (mut lower, mut extent): (MPI_Count, MPI_Count) = (0, 0);
    // SAFETY: the datatype is alive, the variables live during the call.
    check(unsafe { ffi::MPI_Type_get_extent_x(datatype, &mut lower, &mut extent) })?;
    Ok(made.resized(lower, extent)?)
}

impl From<DatatypeError> for Error {
    fn from(error: DatatypeError) -> Self {
        Error::new(ErrorClass::Type, error.to_string())
    }
}

/// An error of MPI about a datatype.
pub(crate) fn check(code: c_int) -> Result<(), Error> {
    let Some(text) = error_text(code) else { return Ok(()) };
    Err(Error::new(ErrorClass::Type, format!("MPI does not tell how a datatype was made: {text}")))
}

/// Refuses a datatype that is not committed, which MPI tells only by an error of a call that would use it: packing of no
/// value. Errors of the communicator are returned.
pub(crate) fn check_committed(datatype: MPI_Datatype, comm: MPI_Comm) -> Result<(), Error> {
    let (mut packed, mut position) = ([0u8; 1], 0);
    // SAFETY: both handles are alive or null; no value is read, and the place for what is packed is as long as it is said to be.
    let code = unsafe { ffi::MPI_Pack(ptr::null(), 0, datatype, packed.as_mut_ptr().cast(), 1, &mut position, comm) };
    let Some(text) = error_text(code) else { return Ok(()) };
    Err(Error::new(ErrorClass::Type, format!("a datatype that is not committed or none at all: {text}")))
}

/// Bytes of the data of a datatype, which is alive.
pub(crate) fn size(datatype: MPI_Datatype) -> Result<u64, Error> {
    let mut size: MPI_Count = 0;
    // SAFETY: the datatype is alive, the variable lives during the call.
    check(unsafe { ffi::MPI_Type_size_x(datatype, &mut size) })?;
    u64::try_from(size).map_err(|_| Error::new(ErrorClass::Type, "a datatype has no size that can be told"))
}

/// A type that MPI has from the start, or that was made for a precision.
fn predefined(datatype: MPI_Datatype) -> Result<Datatype, Error> {
    let (mut size, mut lower, mut extent): (MPI_Count, MPI_Count, MPI_Count) = (0, 0, 0);
    // SAFETY: the datatype is alive, the variables live during the calls.
    unsafe {
        check(ffi::MPI_Type_size_x(datatype, &mut size))?;
        check(ffi::MPI_Type_get_true_extent_x(datatype, &mut lower, &mut extent))?;
    }
    match u64::try_from(size) {
        Ok(bytes) if size == extent && lower == 0 => Ok(Datatype::elementary(bytes)?),
        _ => with_gaps(datatype, lower, extent),
    }
}

/// A pair such as `MPI_SHORT_INT`, with bytes between its values: a value whose bytes are their own offsets is packed.
fn with_gaps(datatype: MPI_Datatype, lower: MPI_Count, extent: MPI_Count) -> Result<Datatype, Error> {
    let refused = || Error::new(ErrorClass::Type, "a predefined datatype has an unusual layout");
    let length = u8::try_from(extent).ok().filter(|_| lower == 0).ok_or_else(refused)?;
    let value: Vec<u8> = (0..length).collect();
    let mut packed = vec![0u8; 1024];
    let mut position: c_int = 0;
    let communicator = mpi::topology::SimpleCommunicator::self_comm();
    // SAFETY: the value is as long as the type says, and the position counts bytes of `packed`, whose length is given.
    check(unsafe {
        let (from, to) = (value.as_ptr().cast(), packed.as_mut_ptr().cast());
        ffi::MPI_Pack(from, 1, datatype, to, 1024, &mut position, communicator.as_raw())
    })?;
    let bytes = &packed[..usize::try_from(position).map_err(|_| refused())?];
    let blocks: Vec<(i64, u64)> = bytes.iter().map(|&offset| (i64::from(offset), 1)).collect();
    Ok(Datatype::hindexed(&blocks, &Datatype::elementary(1)?)?)
}

fn derived(of: &Contents, representation: &Representation) -> Result<Datatype, Error> {
    let known = Combiners::get()?;
    let combiner = of.combiner;
    if combiner == known.structure {
        return structure(of, representation);
    }
    let inner = flatten_for(of.types[0], representation)?;
    let made = match () {
        () if combiner == known.duplicate => inner,
        () if combiner == known.resized => inner.resized(of.addresses[0], of.addresses[1])?,
        () if combiner == known.contiguous => Datatype::contiguous(of.count(0), &inner)?,
        () if combiner == known.vector => Datatype::vector(of.count(0), of.count(1), of.integers[2], &inner)?,
        () if combiner == known.hvector => Datatype::hvector(of.count(0), of.count(1), of.addresses[0], &inner)?,
        () if combiner == known.indexed => {
            let (lengths, places) = of.integers[1..].split_at(of.entries());
            Datatype::indexed(&blocks(places, lengths), &inner)?
        }
        () if combiner == known.hindexed => Datatype::hindexed(&blocks(&of.addresses, &of.integers[1..]), &inner)?,
        () if combiner == known.indexed_block => Datatype::indexed_block(of.count(1), &of.integers[2..], &inner)?,
        () if combiner == known.hindexed_block => Datatype::hindexed_block(of.count(1), &of.addresses, &inner)?,
        () if combiner == known.subarray => subarray(of, &inner)?,
        () if combiner == known.darray => darray(of, &inner)?,
        () => {
            let message = format!("a datatype was made in a way that is not known here (combiner {combiner})");
            return Err(Error::new(ErrorClass::Type, message));
        }
    };
    Ok(made)
}

fn blocks(places: &[i64], lengths: &[i64]) -> Vec<(i64, u64)> {
    let length = |&length: &i64| u64::try_from(length).expect("MPI has refused negative lengths");
    places.iter().copied().zip(lengths.iter().map(length)).collect()
}

fn structure(of: &Contents, representation: &Representation) -> Result<Datatype, Error> {
    let places = blocks(&of.addresses, &of.integers[1..]);
    let parts = places.into_iter().zip(&of.types);
    let parts = parts.map(|((at, length), &of)| Ok((at, length, flatten_for(of, representation)?)));
    Ok(Datatype::structure(&parts.collect::<Result<Vec<_>, Error>>()?)?)
}

fn order(number: i64) -> Order {
    if number == i64::from(ffi::MPI_ORDER_FORTRAN as c_int) { Order::Fortran } else { Order::C }
}

/// Integers: dimensions, sizes, sizes of the part, starts, order.
fn subarray(of: &Contents, inner: &Datatype) -> Result<Datatype, Error> {
    let n = of.entries();
    let [sizes, subsizes, starts] = [1, 1 + n, 1 + 2 * n].map(|from| of.counts(from, n));
    Ok(Datatype::subarray(&sizes, &subsizes, &starts, order(of.integers[1 + 3 * n]), inner)?)
}

/// Integers: ranks, rank, dimensions, sizes, distributions, their arguments, the grid, order.
fn darray(of: &Contents, inner: &Datatype) -> Result<Datatype, Error> {
    let n = usize::try_from(of.integers[2]).expect("MPI has refused negative counts");
    let (sizes, grid) = (of.counts(3, n), of.counts(3 + 3 * n, n));
    let deal = |at: usize| {
        let (kind, argument) = (of.integers[3 + n + at], of.integers[3 + 2 * n + at]);
        let argument = Some(argument).filter(|&argument| argument != i64::from(ffi::MPI_DISTRIBUTE_DFLT_DARG as c_int));
        let argument = argument.and_then(|argument| u64::try_from(argument).ok());
        match kind {
            kind if kind == i64::from(ffi::MPI_DISTRIBUTE_BLOCK as c_int) => Distribution::Block(argument),
            kind if kind == i64::from(ffi::MPI_DISTRIBUTE_CYCLIC as c_int) => Distribution::Cyclic(argument),
            _ => Distribution::None,
        }
    };
    let deals: Vec<Distribution> = (0..n).map(deal).collect();
    let ranks = (of.count(0), of.count(1));
    Ok(Datatype::darray(ranks, &sizes, &deals, &grid, order(of.integers[3 + 4 * n]), inner)?)
}
