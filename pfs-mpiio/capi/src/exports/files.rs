//! Files themselves: open, close, sizes, hints, modes.

use crate::failure::Failure;
use crate::memory::{size, text};
use crate::{call, info, names, open};
use mpi::ffi::{MPI_Comm, MPI_File, MPI_Group, MPI_Info, MPI_Offset};
use mpi::traits::*;
use std::ffi::{c_char, c_int};
use std::mem::ManuallyDrop;

exported! {
    fn MPI_File_open(comm: MPI_Comm, filename: *const c_char, amode: c_int, info: MPI_Info, fh: *mut MPI_File) -> c_int =
        |native| {
            let given = text(filename);
            match names::ours(&given) {
                None => crate::trace::native("MPI_File_open", format_args!("{given}"), || native(comm, filename, amode, info, fh)),
                Some(name) => {
                    let shown = format_args!(", amode {amode}");
                    call::of_name("MPI_File_open", &name.url, shown, || open::open(comm, &name, amode, info, fh))
                }
            }
        };

    fn MPI_File_delete(filename: *const c_char, info: MPI_Info) -> c_int = |native| {
        let given = text(filename);
        match names::ours(&given) {
            None => crate::trace::native("MPI_File_delete", format_args!("{given}"), || native(filename, info)),
            Some(name) => call::of_name("MPI_File_delete", &name.url, format_args!(""), || open::delete(&name)),
        }
    };

    fn MPI_File_close(fh: *mut MPI_File) -> c_int = |native| {
        if fh.is_null() {
            return call::native("MPI_File_close", || native(fh));
        }
        // Closing waits until nobody has the entry, so it is not kept here.
        let is_ours = crate::table::find(*fh).is_some();
        if is_ours {
            return open::close("MPI_File_close", fh);
        }
        if *fh == call::file_null() {
            return call::of_no_file("MPI_File_close");
        }
        call::native("MPI_File_close", || native(fh))
    };
}

for_files! {
    fn MPI_File_set_size(bytes: MPI_Offset) [", {bytes} bytes"] |file| Ok(file.set_size(size(bytes))?);

    fn MPI_File_preallocate(bytes: MPI_Offset) [", {bytes} bytes"] |file| Ok(file.preallocate(size(bytes))?);

    fn MPI_File_get_size(bytes: *mut MPI_Offset) [""] |file| told(file.get_size()?, bytes);

    fn MPI_File_get_amode(amode: *mut c_int) [""] |file| told(file.get_amode().bits(), amode);

    fn MPI_File_get_group(group: *mut MPI_Group) [""] |file| {
        // The program frees it.
        *group = ManuallyDrop::new(file.get_group()).as_raw();
        Ok(())
    };

    fn MPI_File_set_info(info: MPI_Info) [""] |file| {
        let hints = info::read(info)?;
        Ok(file.set_info(&hints)?)
    };

    fn MPI_File_get_info(info_used: *mut MPI_Info) [""] |file| {
        *info_used = info::write(&file.get_info())?;
        Ok(())
    };

    fn MPI_File_sync() [""] |file| Ok(file.sync()?);

    fn MPI_File_set_atomicity(flag: c_int) [", {flag}"] |file| Ok(file.set_atomicity(flag != 0)?);

    fn MPI_File_get_atomicity(flag: *mut c_int) [""] |file| told(i32::from(file.atomicity()), flag);
}

/// Puts a number to the program's place.
///
/// # Safety
/// There is room for it.
pub(super) unsafe fn told<N, T>(number: N, to: *mut T) -> Result<N, Failure>
where
    N: Copy + std::fmt::Display + TryInto<T>,
{
    let found = number.try_into().map_err(|_| Failure::bug(format!("{number} is too large for its type")))?;
    // SAFETY: the caller's promise.
    unsafe { *to = found };
    Ok(number)
}
