//! Data representations of a program.

use crate::failure::{Failure, SUCCESS};
use mpi::ffi::{MPI_Aint, MPI_Count, MPI_Datatype, MPI_Offset};
use pfs_mpiio::{ConversionFn, Element, Error, ErrorClass, FileExtentFn};
use std::ffi::{c_int, c_void};

/// A conversion function of the program, with a count of some type.
#[derive(Clone, Copy)]
pub enum Conversion {
    Small(unsafe extern "C" fn(*mut c_void, MPI_Datatype, c_int, *mut c_void, MPI_Offset, *mut c_void) -> c_int),
    #[cfg_attr(not(large_count), allow(dead_code))]
    Large(unsafe extern "C" fn(*mut c_void, MPI_Datatype, MPI_Count, *mut c_void, MPI_Offset, *mut c_void) -> c_int),
}

/// A function of the program that tells the size of a datatype in a file.
pub type Extent = unsafe extern "C" fn(MPI_Datatype, *mut MPI_Aint, *mut c_void) -> c_int;

/// The program's state for its functions.
#[derive(Clone, Copy)]
struct State(*mut c_void);

// SAFETY: the program has given it for calls of its functions, from whatever thread makes an access.
unsafe impl Send for State {}
// SAFETY: as above.
unsafe impl Sync for State {}

impl State {
    fn get(self) -> *mut c_void {
        self.0
    }
}

/// Makes a representation known under a name.
///
/// # Safety
/// The functions may be called with the state as long as the process lives.
pub unsafe fn register(
    name: &str,
    read: Option<Conversion>,
    write: Option<Conversion>,
    extent: Option<Extent>,
    state: *mut c_void,
) -> Result<(), Failure> {
    let state = State(state);
    let extent =
        extent.ok_or_else(|| Failure::new(ErrorClass::Arg, "a data representation without an extent function"))?;
    let file_extent: Box<FileExtentFn> = Box::new(move |element| file_extent(extent, element, state));
    let read = read.map(|function| -> Box<ConversionFn> {
        Box::new(move |element, file, memory| {
            // SAFETY: the caller's promise; both slices have the values that are counted. The file's bytes are only read.
            unsafe { convert(function, element, memory.as_mut_ptr(), memory.len(), file.as_ptr().cast_mut(), state) }
        })
    });
    let write = write.map(|function| -> Box<ConversionFn> {
        Box::new(move |element, memory, file| {
            // SAFETY: as above; memory is only read.
            unsafe { convert(function, element, memory.as_ptr().cast_mut(), memory.len(), file.as_mut_ptr(), state) }
        })
    });
    Ok(pfs_mpiio::register_datarep(name, read, write, file_extent)?)
}

fn file_extent(function: Extent, element: Element, state: State) -> Result<u64, Error> {
    let mut extent: MPI_Aint = 0;
    // SAFETY: promised to `register`; the handle is of a predefined datatype.
    let code = unsafe { function(handle(element)?, &mut extent, state.get()) };
    check(code)?;
    u64::try_from(extent).map_err(|_| Error::new(ErrorClass::Conversion, format!("an extent of {extent} bytes")))
}

/// # Safety
/// `memory` has `memory_bytes` bytes of whole values, and `file` as many values.
unsafe fn convert(
    function: Conversion,
    element: Element,
    memory: *mut u8,
    memory_bytes: usize,
    file: *mut u8,
    state: State,
) -> Result<(), Error> {
    let (datatype, count) = (handle(element)?, memory_bytes as u64 / element.bytes().max(1));
    let (memory, file, state) = (memory.cast(), file.cast(), state.get());
    let too_many = |_| Error::new(ErrorClass::Conversion, format!("{count} values at once are too many"));
    check(match function {
        // SAFETY: the caller's promise, and that given to `register`.
        Conversion::Small(function) => unsafe {
            function(memory, datatype, c_int::try_from(count).map_err(too_many)?, file, 0, state)
        },
        // SAFETY: as above.
        Conversion::Large(function) => unsafe {
            function(memory, datatype, MPI_Count::try_from(count).map_err(too_many)?, file, 0, state)
        },
    })
}

fn handle(element: Element) -> Result<MPI_Datatype, Error> {
    element.as_raw().ok_or_else(|| Error::new(ErrorClass::Conversion, "a part of a pair has no datatype of its own"))
}

fn check(code: c_int) -> Result<(), Error> {
    match code {
        SUCCESS => Ok(()),
        code => Err(Error::new(ErrorClass::Conversion, format!("its function returned {code}"))),
    }
}
