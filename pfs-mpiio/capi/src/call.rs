//! A call of C: it is shown, no panic leaves it, and its error goes to the error handler and back as a number.

use crate::errhandler;
use crate::failure::{Failure, SUCCESS};
use crate::table::{self, Entry};
use crate::trace::{self, Call};
use mpi::ffi::{self, MPI_File};
use pfs_mpiio::ErrorClass;
use std::any::Any;
use std::ffi::c_int;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Whether a handle is a file that is not ours, of which nothing is to be shown. If not, it has to be looked at more closely.
#[inline]
pub fn is_of_others(handle: MPI_File) -> bool {
    !table::may_be_ours(handle) && handle != file_null() && trace::level() < trace::Level::All
}

/// A call for a file of ours.
pub fn of_file<T: fmt::Debug>(
    function: &'static str,
    file: Arc<Entry>,
    arguments: fmt::Arguments<'_>,
    body: impl FnOnce(&Entry) -> Result<T, Failure>,
) -> c_int {
    let result = shown(function, &file.name, arguments, || body(&file));
    let handle = file.handle.0;
    // The handler may close the file, which waits until nobody uses it.
    drop(file);
    raised(function, handle, result)
}

/// A call that has no file yet, or not any more: its errors go to the handler of `MPI_FILE_NULL`.
pub fn of_name<T: fmt::Debug>(
    function: &'static str,
    name: &str,
    arguments: fmt::Arguments<'_>,
    body: impl FnOnce() -> Result<T, Failure>,
) -> c_int {
    raised(function, file_null(), shown(function, name, arguments, body))
}

/// A call that needs a file and got `MPI_FILE_NULL`, which is nobody's: MPIs do not agree about the class of that error.
pub fn of_no_file(function: &'static str) -> c_int {
    let refused = || Err::<(), _>(Failure::new(ErrorClass::File, "the file handle is MPI_FILE_NULL"));
    of_name(function, "MPI_FILE_NULL", format_args!(""), refused)
}

/// What `body` returns, after it was shown.
pub fn shown<T: fmt::Debug>(
    function: &'static str,
    name: &str,
    arguments: fmt::Arguments<'_>,
    body: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let call = Call::begin(function, name, arguments);
    let result = caught(body);
    call.end(&result);
    result
}

/// What a function of C returns, after the handler of the file has seen an error.
pub fn raised<T>(function: &'static str, handle: MPI_File, result: Result<T, Failure>) -> c_int {
    match result {
        Ok(_) => SUCCESS,
        Err(failure) => errhandler::raise(handle, failure.code, function),
    }
}

/// What `body` returns; a panic is an error.
pub fn caught<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // What a panic leaves half done is not used after it: files have no state here that a call changes in steps.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(Failure::bug(text(&*panic))))
}

fn text(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a panic, which is a bug: {}", words.unwrap_or("without words"))
}

/// `MPI_FILE_NULL`.
pub fn file_null() -> MPI_File {
    // SAFETY: a constant of MPI.
    unsafe { ffi::RSMPI_FILE_NULL }
}

/// A call that goes to MPI's own function.
pub fn native(function: &'static str, call: impl FnOnce() -> c_int) -> c_int {
    trace::native(function, format_args!(""), call)
}
