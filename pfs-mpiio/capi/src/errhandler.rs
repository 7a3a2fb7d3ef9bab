//! Error handlers.
//!
//! MPI keeps them, as our handles are its own. What is done here is to call the one of a file for an error, and to learn what code
//! it leaves: a handler may change it, and that is what the function that failed returns (MPI-4.1, 9.3). MPI's
//! `MPI_File_call_errhandler` keeps that for itself, so a handler that the program creates is created with one of a number of
//! functions here in its place. Each calls one function of the program with the arguments that it got, which may be C's or Fortran's.

use crate::call;
use crate::failure::SUCCESS;
use crate::native::{Native, native};
use mpi::ffi::{self, MPI_Errhandler, MPI_File};
use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The two arguments of a program's function that the standard knows.
type Plain = unsafe extern "C" fn(*mut c_void, *mut c_int);

/// Different functions of a program whose changes of codes are seen. Handlers made of more work, and their changes are not seen.
const SEATS: usize = 32;
static SEATED: [AtomicPtr<c_void>; SEATS] = [const { AtomicPtr::new(ptr::null_mut()) }; SEATS];

thread_local! {
    /// What the last handler of a program on this thread has left.
    static LEFT: Cell<Option<c_int>> = const { Cell::new(None) };
}

unsafe extern "C" fn seat<const N: usize>(file: *mut c_void, code: *mut c_int) {
    let function = SEATED[N].load(Ordering::Acquire);
    // SAFETY: a function of the program that was given for a handler of files, called as MPI calls this one; it takes what more
    // arguments it declares from where none are, as with any MPI that passes none.
    unsafe {
        std::mem::transmute::<*mut c_void, Plain>(function)(file, code);
        LEFT.set(Some(*code));
    }
}

macro_rules! seats {
    ($($n:literal)*) => { [$(seat::<$n> as Plain),*] };
}

static FUNCTIONS: [Plain; SEATS] =
    seats!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);

/// The function to create a handler with, in place of the program's.
pub fn in_place_of(function: *mut c_void) -> *mut c_void {
    for (seated, own) in SEATED.iter().zip(FUNCTIONS) {
        let taken = seated.compare_exchange(ptr::null_mut(), function, Ordering::AcqRel, Ordering::Acquire);
        if taken.is_ok() || taken == Err(function) {
            return own as *mut c_void;
        }
    }
    function
}

/// Open MPI's own way to raise an error: handler, object, its kind, code, words.
type Invoke = unsafe extern "C" fn(MPI_Errhandler, *mut c_void, c_int, c_int, *const c_char) -> c_int;
/// Its number for files.
const KIND_FILE: c_int = 3;

/// Has the handler of a file see an error; returns what it has made of the code.
pub fn raise(handle: MPI_File, code: c_int, function: &str) -> c_int {
    // SAFETY: the function is exported by Open MPI for its bindings and has this type.
    static INVOKE: Native<Invoke> = unsafe { Native::new(c"ompi_errhandler_invoke") };
    if code == SUCCESS {
        return code;
    }
    match INVOKE.find() {
        Some(invoke) => invoke_by(invoke, handle, code, function),
        None => call_by_mpi(handle, code),
    }
}

/// A file that was just opened has the handler of `MPI_FILE_NULL`. MPICH 4.0 gives it back when the file is closed or gets another
/// one, and has never taken it: a handler of the program's would be gone before the program frees it. So it is taken here.
pub fn keep_inherited(handle: MPI_File) {
    // SAFETY: as in `raise`; only Open MPI has it, and Open MPI takes the handler itself.
    static INVOKE: Native<Invoke> = unsafe { Native::new(c"ompi_errhandler_invoke") };
    if INVOKE.find().is_some() {
        return;
    }
    let get = native!(MPI_File_get_errhandler: unsafe extern "C" fn(MPI_File, *mut MPI_Errhandler) -> c_int).get();
    // SAFETY: the handle is alive. A handler that is got is taken, and given back here only if it is a predefined one.
    unsafe {
        let mut inherited = ffi::RSMPI_ERRORS_RETURN;
        let is_got = get(handle, &mut inherited) == SUCCESS;
        if is_got && (inherited == ffi::RSMPI_ERRORS_RETURN || inherited == ffi::RSMPI_ERRORS_ARE_FATAL) {
            ffi::MPI_Errhandler_free(&mut inherited);
        }
    }
}

/// Open MPI ends the program when it is told to call the handler of `MPI_FILE_NULL`, so it is called as Open MPI itself does.
fn invoke_by(invoke: Invoke, handle: MPI_File, code: c_int, function: &str) -> c_int {
    let get = native!(MPI_File_get_errhandler: unsafe extern "C" fn(MPI_File, *mut MPI_Errhandler) -> c_int).get();
    let words = CString::new(function).unwrap_or_default();
    // SAFETY: the handle is alive or null, both of which have a handler; it is given back once.
    unsafe {
        let mut handler = ffi::RSMPI_ERRORS_RETURN;
        if get(handle, &mut handler) != SUCCESS {
            return code;
        }
        let left = invoke(handler, handle.cast(), KIND_FILE, code, words.as_ptr());
        ffi::MPI_Errhandler_free(&mut handler);
        left
    }
}

fn call_by_mpi(handle: MPI_File, code: c_int) -> c_int {
    let call = native!(MPI_File_call_errhandler: unsafe extern "C" fn(MPI_File, c_int) -> c_int).get();
    LEFT.set(None);
    // SAFETY: the handle is alive or null, both of which have a handler.
    let result = unsafe { call(handle, code) };
    match result {
        SUCCESS => LEFT.take().unwrap_or(code),
        _ => code,
    }
}

/// Makes a call of MPI's own whose error is nobody's business: the handler of `MPI_FILE_NULL`, which would see it, is away.
pub fn in_silence(call: impl FnOnce() -> c_int) -> c_int {
    let get = native!(MPI_File_get_errhandler: unsafe extern "C" fn(MPI_File, *mut MPI_Errhandler) -> c_int).get();
    let set = native!(MPI_File_set_errhandler: unsafe extern "C" fn(MPI_File, MPI_Errhandler) -> c_int).get();
    let null = call::file_null();
    // SAFETY: the null handle has a handler, which is put back and given back once.
    unsafe {
        let mut before = ffi::RSMPI_ERRORS_RETURN;
        if get(null, &mut before) != SUCCESS || set(null, ffi::RSMPI_ERRORS_RETURN) != SUCCESS {
            return call();
        }
        let code = call();
        set(null, before);
        ffi::MPI_Errhandler_free(&mut before);
        code
    }
}

/// Whether calling the handler of this handle is done here.
pub fn is_raised_here(handle: MPI_File) -> bool {
    handle == call::file_null() || crate::table::find(handle).is_some()
}
