//! What MPI tells of how a datatype was made.
//!
//! The numbers of the combiners differ between MPIs, and so do the names that their headers give them. So MPI itself is
//! asked, by the envelopes of types that are made for it.
//!
//! A type that was made by a function with large counts has them in a list of its own, which only functions with large counts
//! tell. Where MPI has these, they are asked for every type, and what they say is put in the form that the others have.

use crate::datatype::check;
use crate::error::{Error, ErrorClass};
use mpi::ffi::{self, MPI_Aint, MPI_Count, MPI_Datatype};
use mpi::traits::*;
use std::ffi::CStr;
use std::mem;
use std::os::raw::c_int;
use std::sync::OnceLock;

type EnvelopeFn = unsafe extern "C" fn(
    MPI_Datatype,
    *mut MPI_Count,
    *mut MPI_Count,
    *mut MPI_Count,
    *mut MPI_Count,
    *mut c_int,
) -> c_int;
type ContentsFn = unsafe extern "C" fn(
    MPI_Datatype,
    MPI_Count,
    MPI_Count,
    MPI_Count,
    MPI_Count,
    *mut c_int,
    *mut MPI_Aint,
    *mut MPI_Count,
    *mut MPI_Datatype,
) -> c_int;

/// The functions with large counts of the MPI that runs.
#[derive(Clone, Copy)]
struct Large {
    envelope: EnvelopeFn,
    contents: ContentsFn,
}

impl Large {
    fn get() -> Option<Large> {
        static LARGE: OnceLock<Option<Large>> = OnceLock::new();
        *LARGE.get_or_init(|| {
            let envelope = symbol(c"MPI_Type_get_envelope_c")?;
            let contents = symbol(c"MPI_Type_get_contents_c")?;
            // SAFETY: MPI-4.1 says what functions of these names take.
            unsafe {
                Some(Large {
                    envelope: mem::transmute::<*mut libc::c_void, EnvelopeFn>(envelope),
                    contents: mem::transmute::<*mut libc::c_void, ContentsFn>(contents),
                })
            }
        })
    }
}

/// The address of a function that the program has, if it has it.
fn symbol(name: &CStr) -> Option<*mut libc::c_void> {
    // SAFETY: the name ends with a zero.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// How a datatype was made: the lengths of the lists that were given.
#[derive(Clone, Copy)]
pub(crate) struct Envelope {
    combiner: c_int,
    integers: MPI_Count,
    addresses: MPI_Count,
    counts: MPI_Count,
    pub(crate) types: MPI_Count,
}

impl Envelope {
    pub(crate) fn of(datatype: MPI_Datatype) -> Result<Envelope, Error> {
        // MPI would take it to an error handler of the program's, which by default ends it.
        // SAFETY: a constant of MPI.
        if datatype == unsafe { ffi::RSMPI_DATATYPE_NULL } {
            return Err(Error::new(ErrorClass::Type, "MPI_DATATYPE_NULL is no datatype"));
        }
        let mut combiner = 0;
        if let Some(large) = Large::get() {
            let (mut integers, mut addresses, mut counts, mut types) = (0, 0, 0, 0);
            // SAFETY: the caller's datatype is alive, the variables live during the call.
            check(unsafe {
                (large.envelope)(datatype, &mut integers, &mut addresses, &mut counts, &mut types, &mut combiner)
            })?;
            return Ok(Envelope { combiner, integers, addresses, counts, types });
        }
        let (mut integers, mut addresses, mut types) = (0, 0, 0);
        // SAFETY: as above.
        check(unsafe {
            ffi::MPI_Type_get_envelope(datatype, &mut integers, &mut addresses, &mut types, &mut combiner)
        })?;
        let [integers, addresses, types] = [integers, addresses, types].map(MPI_Count::from);
        Ok(Envelope { combiner, integers, addresses, counts: 0, types })
    }
}

/// What a datatype was made of, in the form of the functions without large counts.
pub(crate) struct Contents {
    pub(crate) combiner: c_int,
    pub(crate) integers: Vec<i64>,
    pub(crate) addresses: Vec<i64>,
    pub(crate) types: Vec<MPI_Datatype>,
}

impl Contents {
    pub(crate) fn of(datatype: MPI_Datatype, envelope: Envelope) -> Result<Contents, Error> {
        let Envelope { combiner, integers: i, addresses: a, counts: c, types: t } = envelope;
        let length = |count: MPI_Count| usize::try_from(count).expect("MPI counts from 0");
        // One more than needed, so that a list of nothing has an address.
        let mut integers: Vec<c_int> = vec![0; length(i) + 1];
        let mut addresses: Vec<MPI_Aint> = vec![0; length(a) + 1];
        let mut counts: Vec<MPI_Count> = vec![0; length(c) + 1];
        let mut types = vec![datatype; length(t)];
        let (to_i, to_a, to_t) = (integers.as_mut_ptr(), addresses.as_mut_ptr(), types.as_mut_ptr());
        // SAFETY: the lists have at least the lengths that the envelope named.
        check(unsafe {
            match Large::get() {
                Some(large) => (large.contents)(datatype, i, a, c, t, to_i, to_a, counts.as_mut_ptr(), to_t),
                None => {
                    let [i, a, t] = [i, a, t].map(|count| c_int::try_from(count).expect("MPI has told an int"));
                    ffi::MPI_Type_get_contents(datatype, i, a, t, to_i, to_a, to_t)
                }
            }
        })?;
        integers.pop();
        addresses.pop();
        counts.pop();
        let integers = integers.into_iter().map(i64::from).collect();
        let told = Contents { combiner, integers, addresses: wide(&addresses), types };
        if counts.is_empty() { Ok(told) } else { told.with_counts(&wide(&counts)) }
    }

    /// Puts large counts where the functions without them have the same numbers (MPI-4.1, 5.1.13).
    fn with_counts(mut self, counts: &[i64]) -> Result<Contents, Error> {
        let known = Combiners::get()?;
        let combiner = self.combiner;
        let integers = mem::take(&mut self.integers);
        // Numbers that are a length of what follows them, and the bounds between lengths and places.
        let split = if combiner == known.hvector || combiner == known.hindexed_block {
            2
        } else if combiner == known.hindexed || combiner == known.structure {
            1 + usize::try_from(counts[0]).expect("MPI has refused negative counts")
        } else if combiner == known.resized {
            0
        } else {
            counts.len()
        };
        let (numbers, places) = counts.split_at(split);
        self.addresses.extend_from_slice(places);
        self.integers = match integers.as_slice() {
            // Dimensions, then sizes, sizes of the part and starts, then the order.
            [dimensions, order] if combiner == known.subarray => [&[*dimensions], numbers, &[*order]].concat(),
            // Ranks, rank, dimensions, then sizes, then the others.
            [first @ .., _] if combiner == known.darray && first.len() >= 3 => {
                [&integers[..3], numbers, &integers[3..]].concat()
            }
            _ => numbers.to_vec(),
        };
        Ok(self)
    }

    /// Whether it is a structure: the only kind that has several types.
    pub(crate) fn is_structure(&self) -> Result<bool, Error> {
        Ok(self.combiner == Combiners::get()?.structure)
    }

    /// A length or count.
    pub(crate) fn count(&self, at: usize) -> u64 {
        u64::try_from(self.integers[at]).expect("MPI has refused negative counts")
    }

    /// `of` integers from `from` on, as lengths.
    pub(crate) fn counts(&self, from: usize, of: usize) -> Vec<u64> {
        (from..from + of).map(|at| self.count(at)).collect()
    }

    /// A count of list entries.
    pub(crate) fn entries(&self) -> usize {
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

fn wide<T: Copy + TryInto<i64>>(numbers: &[T]) -> Vec<i64> {
    let wide = |number: T| number.try_into().ok().expect("addresses and counts have at most 64 bits");
    numbers.iter().copied().map(wide).collect()
}

/// The numbers that an MPI has given to its combiners.
pub(crate) struct Combiners {
    pub(crate) duplicate: c_int,
    pub(crate) contiguous: c_int,
    pub(crate) vector: c_int,
    pub(crate) hvector: c_int,
    pub(crate) indexed: c_int,
    pub(crate) hindexed: c_int,
    pub(crate) indexed_block: c_int,
    pub(crate) hindexed_block: c_int,
    pub(crate) structure: c_int,
    pub(crate) subarray: c_int,
    pub(crate) darray: c_int,
    pub(crate) resized: c_int,
}

impl Combiners {
    pub(crate) fn get() -> Result<&'static Combiners, Error> {
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
