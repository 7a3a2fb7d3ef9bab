//! Views and file pointers.

use super::files::told;
use crate::failure::Failure;
use crate::memory::{name, text, whence};
use crate::view;
use mpi::ffi::{self, MPI_Aint, MPI_Datatype, MPI_Info, MPI_Offset};
use pfs_mpiio::{AccessMode, DISPLACEMENT_CURRENT, ErrorClass, Whence};
use std::ffi::{c_char, c_int};

for_files! {
    fn MPI_File_set_view(
        disp: MPI_Offset,
        etype: MPI_Datatype,
        filetype: MPI_Datatype,
        datarep: *const c_char,
        info: MPI_Info,
    ) [", from {disp}, etype {}, filetype {}, {}", name(etype), name(filetype), text(datarep)] |file| {
        let types = (view::datatype(etype), view::datatype(filetype));
        file.set_view(displacement(disp), &types.0, &types.1, &text(datarep))?;
        file.types.set(etype, filetype)?;
        let hints = crate::info::read(info)?;
        Ok(file.set_info(&hints)?)
    };

    fn MPI_File_get_view(
        disp: *mut MPI_Offset,
        etype: *mut MPI_Datatype,
        filetype: *mut MPI_Datatype,
        datarep: *mut c_char,
    ) [""] |file| {
        let [own_etype, own_filetype] = file.types.get()?;
        (*etype, *filetype) = (own_etype, own_filetype);
        let name = file.get_datarep();
        std::ptr::copy_nonoverlapping(name.as_ptr().cast(), datarep, name.len());
        *datarep.add(name.len()) = 0;
        told(file.get_view().displacement(), disp)
    };

    fn MPI_File_seek(offset: MPI_Offset, from: c_int) [", {offset} from {from}"] |file| Ok(file.seek(offset, whence(from)?)?);

    fn MPI_File_seek_shared(offset: MPI_Offset, from: c_int) [", {offset} from {from}"] |file| match whence(from) {
        Ok(whence) => Ok(file.seek_shared(offset, whence)?),
        // The others have come too, and no file has this place.
        Err(error) => file.seek_shared(MPI_Offset::MIN, Whence::Set).map_err(|_| error.into()),
    };

    fn MPI_File_get_position(offset: *mut MPI_Offset) [""] |file| {
        not_sequential(file, "MPI_File_get_position")?;
        told(file.get_position(), offset)
    };

    fn MPI_File_get_position_shared(offset: *mut MPI_Offset) [""] |file| told(file.get_position_shared()?, offset);

    fn MPI_File_get_byte_offset(offset: MPI_Offset, disp: *mut MPI_Offset) [", {offset}"] |file| {
        not_sequential(file, "MPI_File_get_byte_offset")?;
        let offset = u64::try_from(offset);
        let offset = offset.map_err(|_| Failure::new(ErrorClass::Arg, "the offset is negative"))?;
        told(file.get_byte_offset(offset)?, disp)
    };

    fn MPI_File_get_type_extent(datatype: MPI_Datatype, extent: *mut MPI_Aint) [", {}", name(datatype)] |file| {
        told(file.get_type_extent(&view::datatype(datatype))?, extent)
    };

    #[cfg(large_count)]
    fn MPI_File_get_type_extent_c(datatype: MPI_Datatype, extent: *mut ffi::MPI_Count) [", {}", name(datatype)] |file| {
        told(file.get_type_extent(&view::datatype(datatype))?, extent)
    };
}

/// A displacement; one that no file has in place of a negative one.
fn displacement(disp: MPI_Offset) -> u64 {
    match disp {
        current if current == MPI_Offset::from(ffi::MPI_DISPLACEMENT_CURRENT) => DISPLACEMENT_CURRENT,
        disp => u64::try_from(disp).unwrap_or(DISPLACEMENT_CURRENT - 1),
    }
}

/// Refuses what a file in sequential mode has not.
fn not_sequential(file: &pfs_mpiio::File, call: &str) -> Result<(), Failure> {
    if !file.get_amode().contains(AccessMode::SEQUENTIAL) {
        return Ok(());
    }
    let message = format!("{call}: a file in MPI_MODE_SEQUENTIAL has only its shared file pointer");
    Err(Failure::new(ErrorClass::UnsupportedOperation, message))
}
