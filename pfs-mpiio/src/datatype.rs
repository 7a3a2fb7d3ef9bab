//! MPI's datatypes as [`Datatype`]s of the core.
//!
//! MPI tells how a type was made; each step is made again. In memory, sizes and bounds of every step are the ones that MPI
//! has for it, so alignment of structures and bounds of types of nothing are as this MPI has them. In a file whose values
//! have other sizes, displacements in elements count these, displacements and bounds in bytes are taken as they are, and
//! structures are not padded (MPI-4.1, 14.5.1).
//!
//! The numbers of the combiners differ between MPIs, and so do the names that their headers give them. So MPI itself is
//! asked, by the envelopes of types that are made for it.

use crate::datarep::Representation;
use crate::error::{Error, ErrorClass};
use crate::pending::error_text;
use crate::signature::Signature;
use mpi::ffi::{self, MPI_Aint, MPI_Comm, MPI_Count, MPI_Datatype};
use mpi::traits::*;
use pfs_core::datatype::{Datatype, DatatypeError, Distribution, Order};
use std::os::raw::c_int;
use std::ptr;
use std::sync::OnceLock;

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
fn check(code: c_int) -> Result<(), Error> {
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

/// How a datatype was made: the lengths of the lists that were given.
#[derive(Clone, Copy)]
pub(crate) struct Envelope {
    combiner: c_int,
    integers: c_int,
    addresses: c_int,
    pub(crate) types: c_int,
}

impl Envelope {
    pub(crate) fn of(datatype: MPI_Datatype) -> Result<Envelope, Error> {
        // MPI would take it to an error handler of the program's, which by default ends it.
        // SAFETY: a constant of MPI.
        if datatype == unsafe { ffi::RSMPI_DATATYPE_NULL } {
            return Err(Error::new(ErrorClass::Type, "MPI_DATATYPE_NULL is no datatype"));
        }
        let (mut integers, mut addresses, mut types, mut combiner) = (0, 0, 0, 0);
        // SAFETY: the caller's datatype is alive, the variables live during the call.
        check(unsafe {
            ffi::MPI_Type_get_envelope(datatype, &mut integers, &mut addresses, &mut types, &mut combiner)
        })?;
        Ok(Envelope { combiner, integers, addresses, types })
    }
}

/// What a datatype was made of.
pub(crate) struct Contents {
    combiner: c_int,
    pub(crate) integers: Vec<c_int>,
    addresses: Vec<MPI_Aint>,
    pub(crate) types: Vec<MPI_Datatype>,
}

impl Contents {
    pub(crate) fn of(datatype: MPI_Datatype, envelope: Envelope) -> Result<Contents, Error> {
        let length = |count: c_int| usize::try_from(count).expect("MPI counts from 0");
        // One more than needed, so that a list of nothing has an address.
        let mut integers = vec![0; length(envelope.integers) + 1];
        let mut addresses = vec![0; length(envelope.addresses) + 1];
        let mut types = vec![datatype; length(envelope.types)];
        // SAFETY: the lists have at least the lengths that the envelope named.
        check(unsafe {
            let (integers, addresses) = (integers.as_mut_ptr(), addresses.as_mut_ptr());
            let Envelope { integers: i, addresses: a, types: t, .. } = envelope;
            ffi::MPI_Type_get_contents(datatype, i, a, t, integers, addresses, types.as_mut_ptr())
        })?;
        integers.pop();
        addresses.pop();
        Ok(Contents { combiner: envelope.combiner, integers, addresses, types })
    }

    /// Whether it is a structure: the only kind that has several types.
    pub(crate) fn is_structure(&self) -> Result<bool, Error> {
        Ok(self.combiner == Combiners::get()?.structure)
    }

    /// A length or count.
    fn count(&self, at: usize) -> u64 {
        u64::try_from(self.integers[at]).expect("MPI has refused negative counts")
    }

    /// `of` integers from `from` on, as lengths.
    fn counts(&self, from: usize, of: usize) -> Vec<u64> {
        (from..from + of).map(|at| self.count(at)).collect()
    }

    /// A count of list entries.
    fn entries(&self) -> usize {
        usize::try_from(self.integers[0]).expect("MPI has refused negative counts")
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        // Of the types that were asked for, only those that were derived are new handles to be freed.
        for datatype in &mut self.types {
            if Envelope::of(*datatype).is_ok_and(|envelope| envelope.types > 0) {
                // SAFETY: the handle came from `MPI_Type_get_contents` and is not used again.
                unsafe { ffi::MPI_Type_free(datatype) };
            }
        }
    }
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

/// The numbers that an MPI has given to its combiners.
struct Combiners {
    duplicate: c_int,
    contiguous: c_int,
    vector: c_int,
    hvector: c_int,
    indexed: c_int,
    hindexed: c_int,
    indexed_block: c_int,
    hindexed_block: c_int,
    structure: c_int,
    subarray: c_int,
    darray: c_int,
    resized: c_int,
}

impl Combiners {
    fn get() -> Result<&'static Combiners, Error> {
        static COMBINERS: OnceLock<Combiners> = OnceLock::new();
        if let Some(known) = COMBINERS.get() {
            return Ok(known);
        }
        let asked = Combiners::ask()?;
        Ok(COMBINERS.get_or_init(|| asked))
    }

    fn ask() -> Result<Combiners, Error> {
        let byte = u8::equivalent_datatype().as_raw();
        let (length, place, address, block) = ([1], [0], [0], ffi::MPI_DISTRIBUTE_BLOCK as c_int);
        let (whole, order) = (ffi::MPI_DISTRIBUTE_DFLT_DARG as c_int, ffi::MPI_ORDER_C as c_int);
        // SAFETY, for all: the lists have the one entry that is named, and live during the call.
        unsafe {
            let (l, p, a, t) = (length.as_ptr(), place.as_ptr(), address.as_ptr(), &raw const byte);
            Ok(Combiners {
                duplicate: combiner_of(|new| ffi::MPI_Type_dup(byte, new))?,
                contiguous: combiner_of(|new| ffi::MPI_Type_contiguous(2, byte, new))?,
                vector: combiner_of(|new| ffi::MPI_Type_vector(1, 1, 1, byte, new))?,
                hvector: combiner_of(|new| ffi::MPI_Type_create_hvector(1, 1, 1, byte, new))?,
                indexed: combiner_of(|new| ffi::MPI_Type_indexed(1, l, p, byte, new))?,
                hindexed: combiner_of(|new| ffi::MPI_Type_create_hindexed(1, l, a, byte, new))?,
                indexed_block: combiner_of(|new| ffi::MPI_Type_create_indexed_block(1, 1, p, byte, new))?,
                hindexed_block: combiner_of(|new| ffi::MPI_Type_create_hindexed_block(1, 1, a, byte, new))?,
                structure: combiner_of(|new| ffi::MPI_Type_create_struct(1, l, a, t, new))?,
                subarray: combiner_of(|new| ffi::MPI_Type_create_subarray(1, l, l, p, order, byte, new))?,
                darray: combiner_of(|new| {
                    let (block, whole) = (&raw const block, &raw const whole);
                    ffi::MPI_Type_create_darray(1, 0, 1, l, block, whole, l, order, byte, new)
                })?,
                resized: combiner_of(|new| ffi::MPI_Type_create_resized(byte, 0, 2, new))?,
            })
        }
    }
}

/// The combiner of a type that is made for this.
fn combiner_of(make: impl FnOnce(&mut MPI_Datatype) -> c_int) -> Result<c_int, Error> {
    let mut made = u8::equivalent_datatype().as_raw();
    check(make(&mut made))?;
    let envelope = Envelope::of(made);
    // SAFETY: the type was made just now and is not used again.
    check(unsafe { ffi::MPI_Type_free(&mut made) })?;
    Ok(envelope?.combiner)
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
        () if combiner == known.resized => inner.resized(wide(of.addresses[0]), wide(of.addresses[1]))?,
        () if combiner == known.contiguous => Datatype::contiguous(of.count(0), &inner)?,
        () if combiner == known.vector => {
            Datatype::vector(of.count(0), of.count(1), i64::from(of.integers[2]), &inner)?
        }
        () if combiner == known.hvector => Datatype::hvector(of.count(0), of.count(1), wide(of.addresses[0]), &inner)?,
        () if combiner == known.indexed => {
            let (lengths, places) = of.integers[1..].split_at(of.entries());
            Datatype::indexed(&blocks(places.iter().map(|&at| i64::from(at)), lengths), &inner)?
        }
        () if combiner == known.hindexed => {
            Datatype::hindexed(&blocks(of.addresses.iter().map(|&at| wide(at)), &of.integers[1..]), &inner)?
        }
        () if combiner == known.indexed_block => {
            let places: Vec<i64> = of.integers[2..].iter().map(|&at| i64::from(at)).collect();
            Datatype::indexed_block(of.count(1), &places, &inner)?
        }
        () if combiner == known.hindexed_block => {
            let places: Vec<i64> = of.addresses.iter().map(|&at| wide(at)).collect();
            Datatype::hindexed_block(of.count(1), &places, &inner)?
        }
        () if combiner == known.subarray => subarray(of, &inner)?,
        () if combiner == known.darray => darray(of, &inner)?,
        () => {
            let message = format!("a datatype was made in a way that is not known here (combiner {combiner})");
            return Err(Error::new(ErrorClass::Type, message));
        }
    };
    Ok(made)
}

fn blocks(places: impl Iterator<Item = i64>, lengths: &[c_int]) -> Vec<(i64, u64)> {
    let length = |&length: &c_int| u64::try_from(length).expect("MPI has refused negative lengths");
    places.zip(lengths.iter().map(length)).collect()
}

fn wide(address: MPI_Aint) -> i64 {
    i64::try_from(address).expect("addresses have at most 64 bits")
}

fn structure(of: &Contents, representation: &Representation) -> Result<Datatype, Error> {
    let places = blocks(of.addresses.iter().map(|&at| wide(at)), &of.integers[1..]);
    let parts = places.into_iter().zip(&of.types);
    let parts = parts.map(|((at, length), &of)| Ok((at, length, flatten_for(of, representation)?)));
    Ok(Datatype::structure(&parts.collect::<Result<Vec<_>, Error>>()?)?)
}

fn order(number: c_int) -> Order {
    if number == ffi::MPI_ORDER_FORTRAN as c_int { Order::Fortran } else { Order::C }
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
        let argument = Some(argument).filter(|&argument| argument != ffi::MPI_DISTRIBUTE_DFLT_DARG as c_int);
        let argument = argument.and_then(|argument| u64::try_from(argument).ok());
        match kind {
            kind if kind == ffi::MPI_DISTRIBUTE_BLOCK as c_int => Distribution::Block(argument),
            kind if kind == ffi::MPI_DISTRIBUTE_CYCLIC as c_int => Distribution::Cyclic(argument),
            _ => Distribution::None,
        }
    };
    let deals: Vec<Distribution> = (0..n).map(deal).collect();
    let ranks = (of.count(0), of.count(1));
    Ok(Datatype::darray(ranks, &sizes, &deals, &grid, order(of.integers[3 + 4 * n]), inner)?)
}
