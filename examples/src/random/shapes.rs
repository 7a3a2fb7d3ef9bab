//! Random datatypes: orderly ones for files, any for memory.

use super::memory::Made;
use super::numbers::Numbers;
use super::shape::{Basic, Bounds, Cut, Deal, Dealt, Shape};

/// Types with more data than this, or spread over more, are not made more complicated.
const SIZE_MAX: u64 = 600;
const EXTENT_MAX: i64 = 6000;

/// A type for views, made of etypes: bytes in order, no byte twice, copies one behind the other.
pub fn orderly(numbers: &mut Numbers, etype: &Shape, depth: u32) -> Shape {
    let mut shape = etype.clone();
    let unit = etype.bounds().extent;
    for _ in 0..depth {
        let bounds = shape.bounds();
        if bounds.size > SIZE_MAX || bounds.extent > EXTENT_MAX {
            break;
        }
        let larger = covering(orderly_around(numbers, shape.clone(), bounds, unit, etype));
        // One without data would show nothing.
        if larger.bounds().size > 0 {
            shape = larger;
        }
    }
    shape
}

/// The same type with bounds around all of its data: a bound that was set inside of it by hand may lie between.
fn covering(shape: Shape) -> Shape {
    let Bounds { size, lower, extent, true_lower, true_extent } = shape.bounds();
    if size == 0 {
        return shape;
    }
    let end = (lower + extent).max(true_lower + true_extent);
    if lower <= true_lower && lower + extent == end {
        return shape;
    }
    Shape::Resized { lower: 0, extent: end, of: Box::new(shape) }
}

fn orderly_around(numbers: &mut Numbers, shape: Shape, bounds: Bounds, unit: i64, etype: &Shape) -> Shape {
    let of = Box::new(shape);
    let count = numbers.between(1, 4);
    let length = numbers.between(1, 3);
    let inner = bounds.extent;
    let gap = |numbers: &mut Numbers| unit * i64::from(numbers.between(0, 5));
    match numbers.below(13) {
        0 => Shape::Contiguous { count, of },
        1 => Shape::Vector { count, length, stride: length + numbers.between(0, 3), of },
        2 => Shape::Hvector { count, length, stride: i64::from(length) * inner + gap(numbers), of },
        3 => Shape::Indexed { blocks: blocks(numbers, count, |length| length), of },
        4 => {
            let mut at = 0;
            let block = |numbers: &mut Numbers| {
                let (length, place) = (numbers.between(0, 3), at + gap(numbers));
                at = place + i64::from(length) * inner;
                (length, place)
            };
            Shape::Hindexed { blocks: repeat(numbers, count, block), of }
        }
        5 => {
            let places = blocks(numbers, count, |_| length).into_iter().map(|block| block.1).collect();
            Shape::IndexedBlock { length, places, of }
        }
        6 => {
            let mut at = 0;
            let place = |numbers: &mut Numbers| {
                let place = at + gap(numbers);
                at = place + i64::from(length) * inner;
                place
            };
            Shape::HindexedBlock { length, places: repeat(numbers, count, place), of }
        }
        7 => {
            let mut at = 0;
            let part = |numbers: &mut Numbers| {
                let of = if numbers.once_in(2) { (*of).clone() } else { orderly(numbers, etype, 1) };
                let (length, bounds) = (numbers.between(0, 2), of.bounds());
                let place = at - bounds.lower.min(0) + gap(numbers);
                at = place + bounds.lower.max(0) + i64::from(length) * bounds.extent;
                (length, place, of)
            };
            Shape::Struct { parts: repeat(numbers, count.min(3), part) }
        }
        8 | 9 => subarray(numbers, of),
        10 => darray(numbers, of),
        11 => Shape::Resized { lower: 0, extent: bounds.lower + inner + gap(numbers), of },
        _ => Shape::Dup { of },
    }
}

/// `count` things that are made one after the other.
fn repeat<T>(numbers: &mut Numbers, count: i32, mut make: impl FnMut(&mut Numbers) -> T) -> Vec<T> {
    (0..count).map(|_| make(numbers)).collect()
}

/// Lengths and places of blocks in order.
fn blocks(numbers: &mut Numbers, count: i32, room: impl Fn(i32) -> i32) -> Vec<(i32, i32)> {
    let mut at = 0;
    repeat(numbers, count, |numbers| {
        let (length, place) = (numbers.between(0, 3), at + numbers.between(0, 3));
        at = place + room(length);
        (length, place)
    })
}

fn subarray(numbers: &mut Numbers, of: Box<Shape>) -> Shape {
    let dimensions = numbers.between(1, 3);
    let cut = |numbers: &mut Numbers| {
        let size = numbers.between(1, 5);
        let part = numbers.between(1, size);
        Cut { size, part, start: numbers.between(0, size - part) }
    };
    Shape::Subarray { cuts: repeat(numbers, dimensions, cut), fortran: numbers.once_in(2), of }
}

fn darray(numbers: &mut Numbers, of: Box<Shape>) -> Shape {
    let dimensions = numbers.between(1, 3);
    let dealt = |numbers: &mut Numbers| {
        let grid = numbers.between(1, 3);
        let deals = [Deal::Block, Deal::Cyclic(0), Deal::Cyclic(2), Deal::None];
        let deal = *numbers.pick(&deals[..if grid == 1 { 4 } else { 3 }]);
        Dealt { size: grid * numbers.between(1, 3), deal, grid }
    };
    let dimensions = repeat(numbers, dimensions, dealt);
    let ranks = dimensions.iter().map(|of| of.grid).product();
    Shape::Darray { ranks, rank: numbers.between(0, ranks - 1), dimensions, fortran: numbers.once_in(2), of }
}

/// A type for memory: bytes in any order and anywhere around the buffer's address.
pub fn any(numbers: &mut Numbers, depth: u32) -> Shape {
    let mut shape = Shape::Basic(*numbers.pick(&Basic::ALL));
    for _ in 0..depth {
        let bounds = shape.bounds();
        if bounds.size > SIZE_MAX || bounds.true_extent.max(bounds.extent) > EXTENT_MAX {
            break;
        }
        let larger = any_around(numbers, shape.clone(), bounds);
        if larger.bounds().size > 0 {
            shape = larger;
        }
    }
    shape
}

fn any_around(numbers: &mut Numbers, shape: Shape, bounds: Bounds) -> Shape {
    let of = Box::new(shape);
    let (count, length) = (numbers.between(1, 4), numbers.between(0, 3));
    let place = |numbers: &mut Numbers| numbers.between(-5, 12);
    let address = |numbers: &mut Numbers| 3 * i64::from(numbers.between(-5, 40));
    match numbers.below(12) {
        0 => Shape::Contiguous { count, of },
        // Open MPI 4.1 lays a vector with a stride of -1 out as if it were one block.
        1 => Shape::Vector {
            count,
            length,
            stride: Some(numbers.between(-6, 9)).filter(|&by| by != -1).unwrap_or(1),
            of,
        },
        2 => Shape::Hvector { count, length, stride: address(numbers), of },
        3 => Shape::Indexed { blocks: repeat(numbers, count, |n| (n.between(0, 3), place(n))), of },
        4 => Shape::Hindexed { blocks: repeat(numbers, count, |n| (n.between(0, 3), address(n))), of },
        5 => Shape::IndexedBlock { length, places: repeat(numbers, count, place), of },
        6 => Shape::HindexedBlock { length, places: repeat(numbers, count, address), of },
        7 => {
            let part = |n: &mut Numbers| (n.between(0, 2), address(n), any(n, 1));
            Shape::Struct { parts: repeat(numbers, count.min(3), part) }
        }
        8 => subarray(numbers, of),
        9 => darray(numbers, of),
        10 => {
            let extent = bounds.true_extent + i64::from(numbers.between(0, 40));
            Shape::Resized { lower: bounds.lower - i64::from(numbers.between(-9, 9)), extent, of }
        }
        _ => Shape::Dup { of },
    }
}

/// The least count of values whose bytes are whole etypes.
pub fn whole(size: u64, etype: u64) -> u64 {
    etype / common(size, etype)
}

fn common(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common(b, a % b) }
}

/// A type for a buffer and how many of it, with about `bytes` bytes in whole etypes; for a read no byte is in it twice.
pub fn buffer(numbers: &mut Numbers, bytes: u64, etype: u64, reads: bool) -> (Shape, usize) {
    const SPAN_MAX: i64 = 200_000;
    let depth = numbers.below(4);
    let shape = any(numbers, u32::try_from(depth).expect("a small depth"));
    let made = Made::new(&shape);
    let step = whole(made.bounds.size, etype);
    let count = usize::try_from(bytes / made.bounds.size / step * step).expect("few values");
    let is_small = made.bounds.extent.saturating_mul(count as i64).abs() <= SPAN_MAX;
    if count > 0 && is_small && (!reads || made.is_disjoint(count)) {
        return (shape, count);
    }
    (Shape::BYTE, usize::try_from(bytes / etype * etype).expect("few bytes"))
}
