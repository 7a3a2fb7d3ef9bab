//! MPI datatypes of views. The unit is a number of 8 bytes, so that lengths of some GiB fit into MPI's integers.

use crate::aiori::View;
use crate::ior::plan::{Box3, Call};
use anyhow::{Context, Result, ensure};
use mpi::datatype::UserDatatype;
use mpi::ffi::{self, MPI_Aint, MPI_Datatype};
use mpi::raw::FromRaw;
use mpi::traits::*;
use std::os::raw::c_int;

/// The etype's bytes.
pub const UNIT_BYTES: u64 = 8;

/// A view's filetype and displacement; `call` is the call for which it is set.
pub fn filetype(view: &View, call: Option<&Call>) -> Result<(u64, UserDatatype)> {
    match *view {
        View::Blocks { block, stride, start } => Ok((start, pieces(block, stride)?)),
        View::Strided { transfer, stride } => {
            Ok((call.context("a strided view is of a call")?.offset, pieces(transfer, stride)?))
        }
        View::Array(part) => Ok((0, sub_array(&part)?)),
    }
}

/// A piece, and the way to the next one.
fn pieces(bytes: u64, stride: u64) -> Result<UserDatatype> {
    let unit = u64::equivalent_datatype();
    let count = c_int::try_from(bytes / UNIT_BYTES).context("a piece of a view must be less than 16 GiB")?;
    let one = UserDatatype::contiguous(count, &unit);
    let extent = MPI_Aint::try_from(stride)?;
    made(|raw| {
        // SAFETY: the piece is a datatype, the variable lives during the call.
        unsafe { ffi::MPI_Type_create_resized(one.as_raw(), 0, extent, raw) }
    })
}

fn sub_array(part: &Box3) -> Result<UserDatatype> {
    let int = |numbers: [u64; 3]| -> Result<Vec<c_int>> {
        Ok(numbers.map(c_int::try_from).into_iter().collect::<Result<_, _>>()?)
    };
    let (sizes, subsizes, starts) = (int(part.sizes)?, int(part.subsizes)?, int(part.starts)?);
    let (order, unit) = (c_int::try_from(ffi::MPI_ORDER_C)?, u64::equivalent_datatype().as_raw());
    made(|raw| {
        let (sizes, subsizes, starts) = (sizes.as_ptr(), subsizes.as_ptr(), starts.as_ptr());
        // SAFETY: the lists have three entries, the variable lives during the call.
        unsafe { ffi::MPI_Type_create_subarray(3, sizes, subsizes, starts, order, unit, raw) }
    })
}

fn made(make: impl FnOnce(*mut MPI_Datatype) -> c_int) -> Result<UserDatatype> {
    let mut raw = u64::equivalent_datatype().as_raw();
    let code = make(&mut raw);
    ensure!(i64::from(code) == i64::from(ffi::MPI_SUCCESS), "MPI makes no datatype for the view");
    // SAFETY: MPI has made the type; it is committed before it is wrapped, which frees it.
    unsafe {
        ffi::MPI_Type_commit(&mut raw);
        Ok(UserDatatype::from_raw(raw))
    }
}
