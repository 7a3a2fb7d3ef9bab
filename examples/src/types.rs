//! Datatypes that rsmpi has no constructor for.

use mpi::datatype::UserDatatype;
use mpi::ffi;
use mpi::raw::FromRaw;
use mpi::traits::*;
use std::os::raw::c_int;

/// A part of an array in C order, committed: `parts` elements from `starts` on in each dimension of `sizes`.
///
/// # Panics
/// If the part is empty or not inside of the array.
pub fn subarray<const N: usize>(
    sizes: [usize; N],
    parts: [usize; N],
    starts: [usize; N],
    of: &impl Datatype,
) -> UserDatatype {
    let fits = (0..N).all(|at| parts[at] > 0 && starts[at] + parts[at] <= sizes[at]);
    assert!(fits, "{parts:?} elements from {starts:?} on are not inside of {sizes:?}");
    let numbers = |list: [usize; N]| list.map(|n| c_int::try_from(n).expect("MPI counts dimensions in 32 bits"));
    let (sizes, parts, starts, dimensions) = (numbers(sizes), numbers(parts), numbers(starts), numbers([N; N])[0]);
    let (s, p, at, order) = (sizes.as_ptr(), parts.as_ptr(), starts.as_ptr(), ffi::MPI_ORDER_C as c_int);
    let mut made = of.as_raw();
    // SAFETY: three lists of as many numbers as there are dimensions; the type is new, and nobody else frees it.
    unsafe {
        ffi::MPI_Type_create_subarray(dimensions, s, p, at, order, of.as_raw(), &mut made);
        ffi::MPI_Type_commit(&mut made);
        UserDatatype::from_raw(made)
    }
}

/// The part of `whole` elements that is dealt to one of `parts` as evenly as possible: where it starts, and how many.
pub fn share(whole: usize, parts: usize, one: usize) -> (usize, usize) {
    let start = whole * one / parts;
    (start, whole * (one + 1) / parts - start)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_are_the_whole() {
        for (whole, parts) in [(10, 3), (2, 4), (7, 1)] {
            let all: Vec<(usize, usize)> = (0..parts).map(|one| share(whole, parts, one)).collect();
            assert_eq!(all.iter().map(|share| share.1).sum::<usize>(), whole);
            assert!(all.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0));
        }
    }
}
