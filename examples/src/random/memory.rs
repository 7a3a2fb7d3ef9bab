//! Buffers of any datatype, and MPI's own packing of them.

use super::shape::{Bounds, Shape, bounds};
use mpi::Count;
use mpi::datatype::{DatatypeRef, UserDatatype};
use mpi::ffi::{self, MPI_Aint};
use mpi::raw::{AsRaw, FromRaw};
use mpi::traits::*;
use std::ffi::{CStr, c_void};
use std::os::raw::c_int;

/// Bytes on either side of a buffer that nobody may touch.
const GUARD_BYTES: usize = 16;
const EXTERNAL32: &CStr = c"external32";

/// How values are stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Representation {
    /// As they are in memory.
    Native,
    /// In MPI's portable form.
    External32,
}

impl Representation {
    /// MPI's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Representation::Native => "native",
            Representation::External32 => "external32",
        }
    }
}

/// A committed type, and what MPI says of it.
pub struct Made {
    /// The type.
    pub datatype: UserDatatype,
    /// Its size and bounds.
    pub bounds: Bounds,
}

impl Made {
    /// Has MPI make a type.
    pub fn new(shape: &Shape) -> Made {
        let datatype = shape.made();
        Made { bounds: bounds(&datatype), datatype }
    }

    /// Where `count` values begin and end that lie at place 0, which is always inside.
    fn span(&self, count: usize) -> (i64, i64) {
        let Bounds { size, extent, true_lower, true_extent, .. } = self.bounds;
        let last = extent * (count.max(1) as i64 - 1);
        if size == 0 || count == 0 {
            return (0, 0);
        }
        (0.min(true_lower).min(last + true_lower), 0.max(true_lower + true_extent).max(last + true_lower + true_extent))
    }

    /// Packs `count` values that lie at `origin`, by MPI.
    pub fn pack(&self, memory: &[u8], origin: usize, count: usize, representation: Representation) -> Vec<u8> {
        let mut packed = vec![0; self.packed_bytes(count)];
        if packed.is_empty() {
            return packed;
        }
        self.check(memory.len(), origin, count);
        let (from, to) = (memory[origin..].as_ptr().cast::<c_void>(), packed.as_mut_ptr().cast::<c_void>());
        let (raw, values) = (self.datatype.as_raw(), c_int::try_from(count).expect("few values"));
        // SAFETY: all bytes of the values lie in `memory`, as was checked, and `packed` has room for them.
        let (code, position) = unsafe {
            match representation {
                Representation::Native => {
                    let (mut position, room) = (0, c_int::try_from(packed.len()).expect("few bytes"));
                    let code = ffi::MPI_Pack(from, values, raw, to, room, &mut position, ffi::RSMPI_COMM_SELF);
                    (code, i64::from(position))
                }
                Representation::External32 => {
                    let (mut position, room): (MPI_Aint, MPI_Aint) = (0, packed.len() as MPI_Aint);
                    let name = EXTERNAL32.as_ptr();
                    let code = ffi::MPI_Pack_external(name, from, values, raw, to, room, &mut position);
                    (code, position as i64)
                }
            }
        };
        assert!(code == ffi::MPI_SUCCESS as c_int && position == packed.len() as i64, "MPI packs {position} bytes");
        packed
    }

    /// Puts packed bytes into `count` values that lie at `origin`, by MPI.
    pub fn unpack(&self, packed: &[u8], memory: &mut [u8], origin: usize, count: usize, in_form: Representation) {
        assert!(packed.len() == self.packed_bytes(count), "{} bytes for {count} values", packed.len());
        if packed.is_empty() {
            return;
        }
        self.check(memory.len(), origin, count);
        let (from, to) = (packed.as_ptr().cast::<c_void>(), memory[origin..].as_mut_ptr().cast::<c_void>());
        let (raw, values) = (self.datatype.as_raw(), c_int::try_from(count).expect("few values"));
        // SAFETY: as in `pack`.
        let code = unsafe {
            match in_form {
                Representation::Native => {
                    let (mut position, length) = (0, c_int::try_from(packed.len()).expect("few bytes"));
                    ffi::MPI_Unpack(from, length, &mut position, to, values, raw, ffi::RSMPI_COMM_SELF)
                }
                Representation::External32 => {
                    let (mut position, length): (MPI_Aint, MPI_Aint) = (0, packed.len() as MPI_Aint);
                    ffi::MPI_Unpack_external(EXTERNAL32.as_ptr(), from, length, &mut position, to, values, raw)
                }
            }
        };
        assert!(code == ffi::MPI_SUCCESS as c_int, "MPI does not unpack");
    }

    fn packed_bytes(&self, count: usize) -> usize {
        usize::try_from(self.bounds.size).expect("a small type") * count
    }

    fn check(&self, length: usize, origin: usize, count: usize) {
        let (low, high) = self.span(count);
        let origin = origin as i64;
        assert!(origin + low >= 0 && origin + high <= length as i64, "values from {low} to {high} in {length} bytes");
    }

    /// Whether no two bytes of `count` values are one.
    pub fn is_disjoint(&self, count: usize) -> bool {
        let mut memory = Memory::new(self, count, 0);
        let ones = vec![1; self.packed_bytes(count)];
        memory.unpack(&ones, Representation::Native);
        memory.bytes.iter().map(|&byte| usize::from(byte)).sum::<usize>() == ones.len()
    }
}

/// Values of a type in memory.
pub struct Memory<'a> {
    made: &'a Made,
    count: usize,
    bytes: Vec<u8>,
    /// Where the buffer's address is among the bytes.
    origin: usize,
}

impl<'a> Memory<'a> {
    /// Room for `count` values, with this in every byte.
    pub fn new(made: &'a Made, count: usize, fill: u8) -> Memory<'a> {
        let (low, high) = made.span(count);
        let index = |at: i64| usize::try_from(at).expect("a small buffer");
        let bytes = vec![fill; index(high - low) + 2 * GUARD_BYTES];
        Memory { made, count, bytes, origin: index(-low) + GUARD_BYTES }
    }

    /// All bytes, gaps included.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All bytes, to fill them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The data as a file holds it.
    pub fn pack(&self, representation: Representation) -> Vec<u8> {
        self.made.pack(&self.bytes, self.origin, self.count, representation)
    }

    /// The values of all the data.
    pub fn unpack(&mut self, data: &[u8], representation: Representation) {
        self.made.unpack(data, &mut self.bytes, self.origin, self.count, representation);
    }

    /// The values of the first bytes of the data; the others stay.
    pub fn unpack_start(&mut self, data: &[u8], representation: Representation) {
        let mut all = self.pack(representation);
        all[..data.len()].copy_from_slice(data);
        self.unpack(&all, representation);
    }
}

// SAFETY, for all: the buffer's address and type name only bytes of `bytes`, which are initialised: `Memory::new` made room
// for `count` values of the type.
unsafe impl AsDatatype for Memory<'_> {
    type Out = DatatypeRef<'static>;

    fn as_datatype(&self) -> DatatypeRef<'static> {
        // SAFETY: the type lives longer than the buffer that is passed by reference.
        unsafe { DatatypeRef::from_raw(self.made.datatype.as_raw()) }
    }
}

// SAFETY: see above.
unsafe impl Collection for Memory<'_> {
    fn count(&self) -> Count {
        Count::try_from(self.count).expect("few values")
    }
}

// SAFETY: see above.
unsafe impl Pointer for Memory<'_> {
    fn pointer(&self) -> *const c_void {
        self.bytes.as_ptr().wrapping_add(self.origin).cast()
    }
}

// SAFETY: see above.
unsafe impl PointerMut for Memory<'_> {
    fn pointer_mut(&mut self) -> *mut c_void {
        self.bytes.as_mut_ptr().wrapping_add(self.origin).cast()
    }
}

// SAFETY: see above.
unsafe impl Buffer for Memory<'_> {}
// SAFETY: see above.
unsafe impl BufferMut for Memory<'_> {}
