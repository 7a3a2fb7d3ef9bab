//! Data representations: `external32` against what MPI itself packs, and representations of the program's own.

use super::{Case, Context, check_bytes};
use crate::pattern;
use anyhow::{Context as _, Result, ensure};
use mpi::datatype::UserDatatype;
use mpi::ffi::{self, MPI_Aint, MPI_Datatype};
use mpi::raw::FromRaw;
use mpi::traits::*;
use pfs_mpiio::{Error, ErrorClass, Info, RawBuffer, RawBufferMut, register_datarep};
use std::os::raw::c_int;

pub(super) const CASES: &[(&str, Case)] = &[
    ("external32 as MPI packs it", as_mpi_packs),
    ("external32 through a view", through_a_view),
    ("a representation of the program's own", of_the_program),
    ("representations that fail", failing),
];

/// A copy with other bounds.
pub(super) fn resized<D: Datatype>(of: &D, lower: MPI_Aint, extent: MPI_Aint) -> UserDatatype {
    let mut raw = of.as_raw();
    // SAFETY: the type is alive; the new handle is committed and is nobody else's.
    unsafe {
        assert!(ffi::MPI_Type_create_resized(of.as_raw(), lower, extent, &mut raw) == ffi::MPI_SUCCESS as c_int);
        ffi::MPI_Type_commit(&mut raw);
        UserDatatype::from_raw(raw)
    }
}

/// A structure of several types with gaps: two doubles, a byte, three shorts and a number of 64 bits.
fn mixed() -> UserDatatype {
    let (double, byte) = (f64::equivalent_datatype(), u8::equivalent_datatype());
    let (short, long) = (i16::equivalent_datatype(), i64::equivalent_datatype());
    let types = [double.as_raw(), byte.as_raw(), short.as_raw(), long.as_raw()];
    let (lengths, places) = ([2, 1, 3, 1], [0, 16, 18, 32]);
    let mut raw = types[0];
    // SAFETY: four lists of four entries; the new handle is committed and is nobody else's.
    unsafe {
        let made = ffi::MPI_Type_create_struct(4, lengths.as_ptr(), places.as_ptr(), types.as_ptr(), &mut raw);
        assert!(made == ffi::MPI_SUCCESS as c_int);
        ffi::MPI_Type_commit(&mut raw);
        UserDatatype::from_raw(raw)
    }
}

/// What MPI makes of values in `external32`.
fn packed(memory: &[u8], count: c_int, datatype: MPI_Datatype) -> Result<Vec<u8>> {
    let mut bytes = vec![0u8; 16 * memory.len() + 64];
    let mut position: MPI_Aint = 0;
    // SAFETY: the memory has so many values, and the room that is named is there.
    let code = unsafe {
        let (from, to) = (memory.as_ptr().cast(), bytes.as_mut_ptr().cast());
        let room = MPI_Aint::try_from(bytes.len())?;
        ffi::MPI_Pack_external(c"external32".as_ptr(), from, count, datatype, to, room, &mut position)
    };
    ensure!(code == ffi::MPI_SUCCESS as c_int, "MPI does not pack");
    bytes.truncate(usize::try_from(position)?);
    Ok(bytes)
}

/// The same for values of [`mixed`], member by member, as MPICH 4.0.2 dies when it packs such a type.
fn packed_mixed(memory: &[u8]) -> Result<Vec<u8>> {
    let (double, byte) = (f64::equivalent_datatype(), u8::equivalent_datatype());
    let (short, long) = (i16::equivalent_datatype(), i64::equivalent_datatype());
    let mut bytes = Vec::new();
    for value in memory.chunks_exact(40) {
        bytes.extend(packed(&value[..16], 2, double.as_raw())?);
        bytes.extend(packed(&value[16..17], 1, byte.as_raw())?);
        bytes.extend(packed(&value[18..24], 3, short.as_raw())?);
        bytes.extend(packed(&value[32..40], 1, long.as_raw())?);
    }
    Ok(bytes)
}

/// Writes values of memory in `external32`, compares what is in the file with what MPI packs, and reads them back.
fn check_packed(context: &Context, name: &str, datatype: &dyn AsRaw<Raw = MPI_Datatype>, extent: usize) -> Result<()> {
    let (count, raw) = (257, datatype.as_raw());
    let memory = pattern::bytes(6 + context.rank(), 0, count * extent);
    // Truth values are 0 or 1.
    let memory: Vec<u8> = if name == "bool" { memory.iter().map(|byte| byte & 1).collect() } else { memory };
    let count_int = c_int::try_from(count)?;
    let pack = |memory: &[u8]| if name == "mixed" { packed_mixed(memory) } else { packed(memory, count_int, raw) };
    let expected = pack(&memory)?;
    let file = context.create(&format!("external-{name}"), &Info::new())?;
    let byte = u8::equivalent_datatype();
    file.set_view(context.rank() * expected.len() as u64, &byte, &byte, "external32")?;
    // SAFETY: the memory has so many values, and the type is alive.
    let values = unsafe { RawBuffer::new(memory.as_ptr().cast(), count as u64, raw) };
    let status = file.write_at_all(0, &values)?;
    ensure!(status.file_bytes() == expected.len() as u64, "{name}: {status:?}, and MPI packs {}", expected.len());
    file.set_view(context.rank() * expected.len() as u64, &byte, &byte, "native")?;
    let mut stored = vec![0; expected.len()];
    file.read_at_all(0, &mut stored[..])?;
    check_bytes(&stored, &expected).with_context(|| name.to_owned())?;
    file.set_view(context.rank() * expected.len() as u64, &byte, &byte, "external32")?;
    let mut back = vec![0u8; memory.len()];
    // SAFETY: as above.
    let mut values = unsafe { RawBufferMut::new(back.as_mut_ptr().cast(), count as u64, raw) };
    file.read_at(0, &mut values)?;
    ensure!(pack(&back)? == expected, "{name} comes back as something else");
    Ok(file.close()?)
}

fn as_mpi_packs(context: &Context) -> Result<()> {
    macro_rules! check {
        ($($name:ident)*) => {
            $(check_packed(context, stringify!($name), &$name::equivalent_datatype(), size_of::<$name>())?;)*
        };
    }
    check!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 bool);
    let mixed = mixed();
    check_packed(context, "mixed", &mixed, 40)?;
    check_packed(context, "resized", &resized(&f64::equivalent_datatype(), 0, 24), 24)
}

/// Values of memory that lie there with gaps, in a view with others; every kind of access converts.
fn through_a_view(context: &Context) -> Result<()> {
    let file = context.create("external-view", &Info::new())?;
    let double = f64::equivalent_datatype();
    let extent = 8 * MPI_Aint::try_from(context.ranks())?;
    let filetype = resized(&double, 0, extent);
    file.set_view(8 * context.rank(), &double, &filetype, "external32")?;
    ensure!(file.get_type_extent(&double)? == 8 && file.get_datarep() == "external32");
    let value = |number: u64| (number * context.ranks() + context.rank()) as f64 * 0.5;
    let own: Vec<f64> = (0..100).map(value).collect();
    file.write_all(&own[..40])?;
    ensure!(file.get_position() == 40);
    file.write_at(40, &own[40..80])?;
    file.write_at_all(80, &own[80..])?;
    let mut back = vec![0.0f64; 130];
    let status = file.read_at_all(0, &mut back[..])?;
    ensure!(status.count::<f64>() == Some(100), "{status:?} at the end of the file");
    ensure!(back[..100] == own[..] && back[100..].iter().all(|value| *value == 0.0));
    file.set_view(0, &u8::equivalent_datatype(), &u8::equivalent_datatype(), "native")?;
    let mut stored = vec![0u8; 800 * usize::try_from(context.ranks())?];
    file.read_at_all(0, &mut stored[..])?;
    let expected: Vec<u8> = (0..100 * context.ranks()).flat_map(|number| (number as f64 * 0.5).to_be_bytes()).collect();
    check_bytes(&stored, &expected)?;
    Ok(file.close()?)
}

/// Twice the size: every value with its complement.
fn register_doubled() -> Result<(), Error> {
    register_datarep(
        "doubled",
        Some(Box::new(|element, file, memory| {
            let bytes = usize::try_from(element.bytes()).expect("a small value");
            for (stored, value) in file.chunks_exact(2 * bytes).zip(memory.chunks_exact_mut(bytes)) {
                if stored[..bytes].iter().zip(&stored[bytes..]).any(|(a, b)| *a != !*b) {
                    return Err(Error::new(ErrorClass::Io, "a value and its complement do not fit"));
                }
                value.copy_from_slice(&stored[..bytes]);
            }
            Ok(())
        })),
        Some(Box::new(|element, memory, file| {
            let bytes = usize::try_from(element.bytes()).expect("a small value");
            for (value, stored) in memory.chunks_exact(bytes).zip(file.chunks_exact_mut(2 * bytes)) {
                stored[..bytes].copy_from_slice(value);
                stored[bytes..].iter_mut().zip(value).for_each(|(to, byte)| *to = !byte);
            }
            Ok(())
        })),
        Box::new(|element| Ok(2 * element.bytes())),
    )
}

fn of_the_program(context: &Context) -> Result<()> {
    register_doubled()?;
    let again = register_doubled().err().map(|error| error.class());
    ensure!(again == Some(ErrorClass::DupDatarep), "{again:?}");
    let file = context.create("doubled", &Info::new())?;
    let int = i32::equivalent_datatype();
    file.set_view(0, &int, &int, "doubled")?;
    ensure!(file.get_type_extent(&int)? == 8);
    let own: Vec<i32> = (0..1000).map(|number| number * 7 + i32::try_from(context.rank()).unwrap_or(0)).collect();
    let status = file.write_ordered(&own[..])?;
    ensure!(status.bytes() == 4000 && status.file_bytes() == 8000, "{status:?}");
    ensure!(file.get_size()? == 8000 * context.ranks() && file.get_position_shared()? == 1000 * context.ranks());
    let mut back = vec![0i32; 1000];
    file.read_at_all(1000 * context.rank(), &mut back[..])?;
    ensure!(back == own);

    // One value of the last rank is spoilt: whoever reads it has an error, and in a collective read all have it.
    file.set_view(0, &u8::equivalent_datatype(), &u8::equivalent_datatype(), "native")?;
    if context.rank() == 0 {
        file.write_at(8000 * context.ranks() - 1, &[0x55u8][..])?;
    }
    file.sync()?;
    context.world.barrier();
    file.sync()?;
    file.set_view(0, &int, &int, "doubled")?;
    context.same_error(ErrorClass::Conversion, || file.read_at_all(1000 * context.rank(), &mut back[..]))?;
    Ok(file.close()?)
}

fn failing(context: &Context) -> Result<()> {
    let file = context.create("no-representation", &Info::new())?;
    let (int, double) = (i32::equivalent_datatype(), f64::equivalent_datatype());
    context.same_error(ErrorClass::UnsupportedDatarep, || file.set_view(0, &int, &int, "external64"))?;
    let other = if context.rank() == 0 { "native" } else { "external32" };
    if context.ranks() > 1 {
        context.same_error(ErrorClass::NotSame, || file.set_view(0, &int, &int, other))?;
    }
    let refuse = |element: pfs_mpiio::Element| match element.bytes() {
        4 => Ok(4),
        _ => Err(Error::new(ErrorClass::Arg, "only values of 4 bytes")),
    };
    register_datarep("only-ints", None, None, Box::new(refuse))?;
    context.same_error(ErrorClass::Conversion, || file.set_view(0, &double, &double, "only-ints"))?;
    file.set_view(0, &int, &int, "only-ints")?;
    context.same_error(ErrorClass::Conversion, || file.write_at_all(0, &[0.5f64][..]))?;
    file.write_at_all(context.rank(), &[5i32][..])?;
    Ok(file.close()?)
}
