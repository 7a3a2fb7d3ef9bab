//! Datatypes as descriptions, which can be shown, simplified and told to MPI.

use mpi::datatype::UserDatatype;
use mpi::ffi::{self, MPI_Aint, MPI_Datatype};
use mpi::raw::FromRaw;
use mpi::traits::*;
use std::fmt;
use std::os::raw::c_int;

/// A predefined type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basic {
    /// One byte.
    Byte,
    /// Two bytes.
    Short,
    /// Four bytes.
    Int,
    /// Eight bytes.
    Double,
}

/// How a dimension of an array is dealt to ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deal {
    /// One block for each.
    Block,
    /// Blocks of so many in turn; 0 for MPI's default.
    Cyclic(c_int),
    /// Not at all.
    None,
}

/// A dimension of an array, and the part of it that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Elements of the dimension.
    pub size: c_int,
    /// Elements that are taken.
    pub part: c_int,
    /// The first of them.
    pub start: c_int,
}

/// A dimension of an array that is dealt to a grid of ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dealt {
    /// Elements of the dimension.
    pub size: c_int,
    /// How they are dealt.
    pub deal: Deal,
    /// Ranks in this dimension of the grid.
    pub grid: c_int,
}

/// A datatype by the constructor that makes it. Places and strides of the kinds that begin with `H`, and in structs, are in
/// bytes, others in extents of the inner type.
#[allow(missing_docs)] // the arguments have MPI's order and meaning
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    Basic(Basic),
    Contiguous { count: c_int, of: Box<Shape> },
    Vector { count: c_int, length: c_int, stride: c_int, of: Box<Shape> },
    Hvector { count: c_int, length: c_int, stride: i64, of: Box<Shape> },
    Indexed { blocks: Vec<(c_int, c_int)>, of: Box<Shape> },
    Hindexed { blocks: Vec<(c_int, i64)>, of: Box<Shape> },
    IndexedBlock { length: c_int, places: Vec<c_int>, of: Box<Shape> },
    HindexedBlock { length: c_int, places: Vec<i64>, of: Box<Shape> },
    Struct { parts: Vec<(c_int, i64, Shape)> },
    Subarray { cuts: Vec<Cut>, fortran: bool, of: Box<Shape> },
    Darray { ranks: c_int, rank: c_int, dimensions: Vec<Dealt>, fortran: bool, of: Box<Shape> },
    Resized { lower: i64, extent: i64, of: Box<Shape> },
    Dup { of: Box<Shape> },
}

/// What MPI says of a type, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of data.
    pub size: u64,
    /// Lower bound.
    pub lower: i64,
    /// From the lower to the upper bound.
    pub extent: i64,
    /// Place of the first byte of data.
    pub true_lower: i64,
    /// From there to the end of the last.
    pub true_extent: i64,
}

impl Shape {
    /// Bytes, one behind the other.
    pub const BYTE: Shape = Shape::Basic(Basic::Byte);

    /// The type, committed.
    pub fn made(&self) -> UserDatatype {
        let mut raw = self.build();
        // SAFETY: the type was made just now, and nobody else frees it.
        unsafe {
            ffi::MPI_Type_commit(&mut raw);
            UserDatatype::from_raw(raw)
        }
    }

    /// What MPI says of the type.
    pub fn bounds(&self) -> Bounds {
        bounds(&self.made())
    }

    /// The types that this one is made of.
    pub fn inner(&self) -> Vec<&Shape> {
        match self {
            Shape::Basic(_) => Vec::new(),
            Shape::Struct { parts } => parts.iter().map(|(_, _, of)| of).collect(),
            Shape::Contiguous { of, .. }
            | Shape::Vector { of, .. }
            | Shape::Hvector { of, .. }
            | Shape::Indexed { of, .. }
            | Shape::Hindexed { of, .. }
            | Shape::IndexedBlock { of, .. }
            | Shape::HindexedBlock { of, .. }
            | Shape::Subarray { of, .. }
            | Shape::Darray { of, .. }
            | Shape::Resized { of, .. }
            | Shape::Dup { of } => vec![of],
        }
    }

    /// Whether a struct is in it: MPI pads those in memory, but not in a portable file.
    pub fn has_struct(&self) -> bool {
        matches!(self, Shape::Struct { .. }) || self.inner().into_iter().any(Shape::has_struct)
    }

    /// Bytes of its elements, if they are all of one kind.
    pub fn element_bytes(&self) -> Option<usize> {
        if let Shape::Basic(basic) = self {
            return Some(basic.bytes());
        }
        let mut inner = self.inner().into_iter().map(Shape::element_bytes);
        let first = inner.next()??;
        inner.all(|other| other == Some(first)).then_some(first)
    }

    /// The type by MPI's constructors, not committed.
    fn build(&self) -> MPI_Datatype {
        let inner: Vec<UserDatatype> = self.inner().into_iter().map(Shape::made).collect();
        let raws: Vec<MPI_Datatype> = inner.iter().map(|of| of.as_raw()).collect();
        let of = raws.first().copied().unwrap_or_else(|| u8::equivalent_datatype().as_raw());
        let mut made = of;
        // SAFETY: every list has as many entries as is said and lives during the call; inner types live until it is over.
        let code = unsafe { self.construct(of, &raws, &mut made) };
        assert!(code == ffi::MPI_SUCCESS as c_int, "MPI refuses {self}");
        made
    }

    /// # Safety
    /// `of` and `all` are the inner types.
    unsafe fn construct(&self, of: MPI_Datatype, all: &[MPI_Datatype], made: &mut MPI_Datatype) -> c_int {
        // SAFETY: as for the caller.
        unsafe {
            match self {
                Shape::Basic(basic) => ffi::MPI_Type_dup(basic.raw(), made),
                Shape::Contiguous { count, .. } => ffi::MPI_Type_contiguous(*count, of, made),
                Shape::Vector { count, length, stride, .. } => ffi::MPI_Type_vector(*count, *length, *stride, of, made),
                Shape::Hvector { count, length, stride, .. } => {
                    ffi::MPI_Type_create_hvector(*count, *length, address(*stride), of, made)
                }
                Shape::Indexed { blocks, .. } => {
                    let (lengths, places): (Vec<c_int>, Vec<c_int>) = blocks.iter().copied().unzip();
                    ffi::MPI_Type_indexed(number(blocks), lengths.as_ptr(), places.as_ptr(), of, made)
                }
                Shape::Hindexed { blocks, .. } => {
                    let lengths: Vec<c_int> = blocks.iter().map(|block| block.0).collect();
                    let places: Vec<MPI_Aint> = blocks.iter().map(|block| address(block.1)).collect();
                    ffi::MPI_Type_create_hindexed(number(blocks), lengths.as_ptr(), places.as_ptr(), of, made)
                }
                Shape::IndexedBlock { length, places, .. } => {
                    ffi::MPI_Type_create_indexed_block(number(places), *length, places.as_ptr(), of, made)
                }
                Shape::HindexedBlock { length, places, .. } => {
                    let addresses: Vec<MPI_Aint> = places.iter().map(|&place| address(place)).collect();
                    ffi::MPI_Type_create_hindexed_block(number(places), *length, addresses.as_ptr(), of, made)
                }
                Shape::Struct { parts } => {
                    let lengths: Vec<c_int> = parts.iter().map(|part| part.0).collect();
                    let places: Vec<MPI_Aint> = parts.iter().map(|part| address(part.1)).collect();
                    let (l, p) = (lengths.as_ptr(), places.as_ptr());
                    ffi::MPI_Type_create_struct(number(parts), l, p, all.as_ptr(), made)
                }
                Shape::Subarray { cuts, fortran, .. } => {
                    let list = |of: fn(&Cut) -> c_int| cuts.iter().map(of).collect::<Vec<c_int>>();
                    let (sizes, parts, starts) = (list(|cut| cut.size), list(|cut| cut.part), list(|cut| cut.start));
                    let (s, p, at) = (sizes.as_ptr(), parts.as_ptr(), starts.as_ptr());
                    ffi::MPI_Type_create_subarray(number(cuts), s, p, at, order(*fortran), of, made)
                }
                Shape::Darray { ranks, rank, dimensions, fortran, .. } => {
                    let list = |of: fn(&Dealt) -> c_int| dimensions.iter().map(of).collect::<Vec<c_int>>();
                    let (sizes, grid) = (list(|of| of.size), list(|of| of.grid));
                    let (deals, arguments) = (list(|of| of.deal.raw().0), list(|of| of.deal.raw().1));
                    let (s, d, a, g) = (sizes.as_ptr(), deals.as_ptr(), arguments.as_ptr(), grid.as_ptr());
                    let n = number(dimensions);
                    ffi::MPI_Type_create_darray(*ranks, *rank, n, s, d, a, g, order(*fortran), of, made)
                }
                Shape::Resized { lower, extent, .. } => {
                    ffi::MPI_Type_create_resized(of, address(*lower), address(*extent), made)
                }
                Shape::Dup { .. } => ffi::MPI_Type_dup(of, made),
            }
        }
    }
}

/// What MPI says of a type.
pub fn bounds(made: &UserDatatype) -> Bounds {
    let mut size: c_int = 0;
    let [mut lower, mut extent, mut true_lower, mut true_extent]: [MPI_Aint; 4] = [0; 4];
    // SAFETY: the type is alive, the variables live during the calls.
    unsafe {
        ffi::MPI_Type_size(made.as_raw(), &mut size);
        ffi::MPI_Type_get_extent(made.as_raw(), &mut lower, &mut extent);
        ffi::MPI_Type_get_true_extent(made.as_raw(), &mut true_lower, &mut true_extent);
    }
    let [lower, extent, true_lower, true_extent] = [lower, extent, true_lower, true_extent].map(|at| at as i64);
    Bounds { size: u64::try_from(size).expect("a small type"), lower, extent, true_lower, true_extent }
}

fn number<T>(list: &[T]) -> c_int {
    c_int::try_from(list.len()).expect("a short list")
}

fn address(place: i64) -> MPI_Aint {
    MPI_Aint::try_from(place).expect("an address")
}

fn order(fortran: bool) -> c_int {
    (if fortran { ffi::MPI_ORDER_FORTRAN } else { ffi::MPI_ORDER_C }) as c_int
}

impl Basic {
    /// All of them.
    pub const ALL: [Basic; 4] = [Basic::Byte, Basic::Short, Basic::Int, Basic::Double];

    fn bytes(self) -> usize {
        match self {
            Basic::Byte => 1,
            Basic::Short => 2,
            Basic::Int => 4,
            Basic::Double => 8,
        }
    }

    fn raw(self) -> MPI_Datatype {
        match self {
            Basic::Byte => u8::equivalent_datatype().as_raw(),
            Basic::Short => i16::equivalent_datatype().as_raw(),
            Basic::Int => i32::equivalent_datatype().as_raw(),
            Basic::Double => f64::equivalent_datatype().as_raw(),
        }
    }
}

impl Deal {
    fn raw(self) -> (c_int, c_int) {
        let default = ffi::MPI_DISTRIBUTE_DFLT_DARG as c_int;
        match self {
            Deal::Block => (ffi::MPI_DISTRIBUTE_BLOCK as c_int, default),
            Deal::Cyclic(0) => (ffi::MPI_DISTRIBUTE_CYCLIC as c_int, default),
            Deal::Cyclic(length) => (ffi::MPI_DISTRIBUTE_CYCLIC as c_int, length),
            Deal::None => (ffi::MPI_DISTRIBUTE_NONE as c_int, default),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Basic(basic) => write!(f, "{}", format!("{basic:?}").to_lowercase()),
            Shape::Contiguous { count, of } => write!(f, "contiguous({count}, {of})"),
            Shape::Vector { count, length, stride, of } => write!(f, "vector({count}, {length}, {stride}, {of})"),
            Shape::Hvector { count, length, stride, of } => write!(f, "hvector({count}, {length}, {stride}, {of})"),
            Shape::Indexed { blocks, of } => write!(f, "indexed({blocks:?}, {of})"),
            Shape::Hindexed { blocks, of } => write!(f, "hindexed({blocks:?}, {of})"),
            Shape::IndexedBlock { length, places, of } => write!(f, "indexed_block({length}, {places:?}, {of})"),
            Shape::HindexedBlock { length, places, of } => write!(f, "hindexed_block({length}, {places:?}, {of})"),
            Shape::Struct { parts } => {
                f.write_str("struct(")?;
                parts.iter().try_for_each(|(length, place, of)| write!(f, " {length} at {place} of {of};"))?;
                f.write_str(" )")
            }
            Shape::Subarray { cuts, fortran, of } => {
                let dimensions: Vec<String> =
                    cuts.iter().map(|cut| format!("{}+{} of {}", cut.start, cut.part, cut.size)).collect();
                write!(f, "subarray([{}], {}, {of})", dimensions.join(", "), letter(*fortran))
            }
            Shape::Darray { ranks, rank, dimensions, fortran, of } => {
                let dimensions: Vec<String> =
                    dimensions.iter().map(|of| format!("{} {:?} on {}", of.size, of.deal, of.grid)).collect();
                let order = letter(*fortran);
                write!(f, "darray(rank {rank} of {ranks}, [{}], {order}, {of})", dimensions.join(", "))
            }
            Shape::Resized { lower, extent, of } => write!(f, "resized({lower}, {extent}, {of})"),
            Shape::Dup { of } => write!(f, "dup({of})"),
        }
    }
}

fn letter(fortran: bool) -> &'static str {
    if fortran { "Fortran" } else { "C" }
}
