//! Every constructor against MPI's definition: the plain list of byte displacements.

use super::*;
use crate::extent::Extent;
use proptest::prelude::*;

/// A datatype as MPI's standard defines it: the displacement of each byte of data, and the bounds.
#[derive(Clone, Debug)]
struct Map {
    bytes: Vec<i64>,
    bounds: Option<(i64, i64)>,
}

impl Map {
    fn elementary(size: u64) -> Map {
        let size = size as i64;
        Map { bytes: (0..size).collect(), bounds: Some((0, size)) }
    }

    fn extent(&self) -> i64 {
        self.bounds.map_or(0, |(lower, upper)| upper - lower)
    }

    fn at(places: impl IntoIterator<Item = (i64, Map)>) -> Map {
        let mut all = Map { bytes: Vec::new(), bounds: None };
        for (at, of) in places {
            all.bytes.extend(of.bytes.iter().map(|byte| byte + at));
            if let Some((lower, upper)) = of.bounds.map(|(lower, upper)| (lower + at, upper + at)) {
                let (l, u) = all.bounds.unwrap_or((lower, upper));
                all.bounds = Some((l.min(lower), u.max(upper)));
            }
        }
        all
    }

    fn blocks(places: impl IntoIterator<Item = (i64, u64)>, of: &Map) -> Map {
        let copies = |(at, length)| (0..length as i64).map(move |i| (at + i * of.extent(), of.clone()));
        Map::at(places.into_iter().flat_map(copies))
    }
}

/// A datatype and its definition.
#[derive(Clone, Debug)]
struct Pair(Datatype, Map);

impl Pair {
    fn check(&self) {
        let Pair(made, map) = self;
        assert_eq!(made.size(), map.bytes.len() as u64);
        assert_eq!((made.lower_bound(), made.extent()), (map.bounds.map_or(0, |b| b.0), map.extent()), "{made:?}");
        let (first, end) = (map.bytes.iter().min(), map.bytes.iter().max().map(|last| last + 1));
        assert_eq!(made.true_lower_bound(), first.copied().unwrap_or(0));
        assert_eq!(made.true_extent(), end.unwrap_or(0) - first.copied().unwrap_or(0));
        let flat = |from, to| -> Vec<i64> {
            made.segments(from, to).flat_map(|s| s.displacement..s.displacement + s.length as i64).collect()
        };
        assert_eq!(flat(0, u64::MAX), map.bytes);
        let size = map.bytes.len();
        for (from, to) in [(0, size / 2), (size / 3, size), (size / 4, size / 2 + 1), (size, size)] {
            let to = to.min(size);
            assert_eq!(flat(from as u64, to as u64), map.bytes[from.min(to)..to]);
        }
        let mut last: Option<Segment> = None;
        for segment in made.segments(0, u64::MAX) {
            assert!(segment.length > 0 && last.is_none_or(|last| last.end() != segment.displacement));
            last = Some(segment);
        }
        assert!(made.segments(0, u64::MAX).count() as u64 <= made.runs());
        assert_eq!(made.is_ordered(), map.bytes.windows(2).all(|pair| pair[0] < pair[1]));
        let mut numbers = Vec::new();
        made.encode(&mut numbers);
        let again = Datatype::decode(&mut numbers.iter().copied()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{made:?}"));
        for short in [0, numbers.len() / 2, numbers.len() - 1] {
            assert_eq!(Datatype::decode(&mut numbers[..short].iter().copied()).unwrap_err(), DecodeError::Short);
        }
        if made.is_contiguous() {
            assert!(map.bytes.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        }
    }
}

fn elementary() -> impl Strategy<Value = Pair> {
    prop::sample::select(vec![1u64, 2, 4, 8, 16])
        .prop_map(|size| Pair(Datatype::elementary(size).unwrap(), Map::elementary(size)))
}

fn blocks() -> impl Strategy<Value = Vec<(i64, u64)>> {
    prop::collection::vec((-6i64..12, 0u64..4), 0..5)
}

fn derived(inner: impl Strategy<Value = Pair> + Clone + 'static) -> impl Strategy<Value = Pair> {
    let regular = (0u64..4, 0u64..4, -9i64..12, inner.clone()).prop_map(|(count, length, stride, Pair(of, map))| {
        let places = (0..count as i64).map(|i| (i * stride * map.extent(), length));
        Pair(Datatype::vector(count, length, stride, &of).unwrap(), Map::blocks(places, &map))
    });
    let bytes = (0u64..4, 0u64..4, -40i64..70, inner.clone()).prop_map(|(count, length, stride, Pair(of, map))| {
        let places = (0..count as i64).map(|i| (i * stride, length));
        Pair(Datatype::hvector(count, length, stride, &of).unwrap(), Map::blocks(places, &map))
    });
    let contiguous = (0u64..6, inner.clone()).prop_map(|(count, Pair(of, map))| {
        Pair(Datatype::contiguous(count, &of).unwrap(), Map::blocks([(0, count)], &map))
    });
    let indexed = (blocks(), inner.clone()).prop_map(|(blocks, Pair(of, map))| {
        let places = blocks.iter().map(|&(at, length)| (at * map.extent(), length));
        Pair(Datatype::indexed(&blocks, &of).unwrap(), Map::blocks(places, &map))
    });
    let structure = (prop::collection::vec((-60i64..90, 0u64..3, inner.clone()), 0..4)).prop_map(|blocks| {
        let made: Vec<_> = blocks.iter().map(|(at, length, Pair(of, _))| (*at, *length, of.clone())).collect();
        let maps = blocks.iter().map(|(at, length, Pair(_, map))| (0, Map::blocks([(*at, *length)], map)));
        Pair(Datatype::structure(&made).unwrap(), Map::at(maps))
    });
    let resized = (-9i64..9, 0i64..60, inner).prop_map(|(lower, extent, Pair(of, map))| {
        Pair(of.resized(lower, extent).unwrap(), Map { bounds: Some((lower, lower + extent)), ..map })
    });
    prop_oneof![regular, bytes, contiguous, indexed, structure, resized]
}

fn nested() -> BoxedStrategy<Pair> {
    let one = elementary().boxed();
    let two = prop_oneof![one.clone(), derived(one)].boxed();
    let three = prop_oneof![two.clone(), derived(two)].boxed();
    derived(three).boxed()
}

/// The element's places in an array, by the definition of subarrays: for each element of the part, in order.
fn of_array(sizes: &[u64], part: &[Vec<u64>], order: Order, of: &Map) -> Map {
    let mut fastest: Vec<usize> = (0..sizes.len()).collect();
    if order == Order::C {
        fastest.reverse();
    }
    let mut offsets = vec![0i64];
    let mut row = 1i64;
    for &dimension in &fastest {
        let outer = part[dimension].iter().map(|&index| index as i64 * row);
        offsets = outer.flat_map(|at| offsets.iter().map(move |offset| offset + at).collect::<Vec<_>>()).collect();
        row *= sizes[dimension] as i64;
    }
    let map = Map::at(offsets.into_iter().map(|offset| (offset * of.extent(), of.clone())));
    Map { bounds: Some((0, row * of.extent())), ..map }
}

fn order() -> impl Strategy<Value = Order> {
    prop::sample::select(vec![Order::C, Order::Fortran])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn derived_types_have_the_bytes_of_their_definition(pair in nested()) {
        pair.check();
    }

    #[test]
    fn subarrays_have_the_elements_of_their_box(
        dimensions in prop::collection::vec((1u64..6, 0u64..6, 0u64..6), 1..4),
        order in order(),
        element in elementary(),
    ) {
        let sizes: Vec<u64> = dimensions.iter().map(|d| d.0).collect();
        let subsizes: Vec<u64> = dimensions.iter().map(|d| d.1.min(d.0)).collect();
        let starts: Vec<u64> = dimensions.iter().map(|d| d.2.min(d.0 - d.1.min(d.0))).collect();
        let part: Vec<Vec<u64>> = starts.iter().zip(&subsizes).map(|(at, length)| (*at..at + length).collect()).collect();
        let made = Datatype::subarray(&sizes, &subsizes, &starts, order, &element.0).unwrap();
        Pair(made, of_array(&sizes, &part, order, &element.1)).check();
    }

    /// Every element belongs to exactly the process that the definition of the distribution says.
    #[test]
    fn distributed_arrays_are_dealt_as_defined(
        dimensions in prop::collection::vec((1u64..9, 1u64..4, 0u32..3, prop::option::of(1u64..4)), 1..4),
        order in order(),
        element in elementary(),
    ) {
        let sizes: Vec<u64> = dimensions.iter().map(|d| d.0).collect();
        let (mut grid, mut deals) = (Vec::new(), Vec::new());
        for &(size, processes, kind, block) in &dimensions {
            deals.push(match kind {
                0 => Distribution::None,
                1 => Distribution::Block(block.filter(|block| block * processes >= size)),
                _ => Distribution::Cyclic(block),
            });
            grid.push(if kind == 0 { 1 } else { processes });
        }
        let ranks: u64 = grid.iter().product();
        for rank in 0..ranks {
            let mut rest = rank;
            let mut places: Vec<u64> = grid.iter().rev().map(|g| { let p = rest % g; rest /= g; p }).collect();
            places.reverse();
            let owned = |d: usize, index: u64| match deals[d] {
                Distribution::None => true,
                Distribution::Block(block) => index / block.unwrap_or(sizes[d].div_ceil(grid[d])) == places[d],
                Distribution::Cyclic(block) => index / block.unwrap_or(1) % grid[d] == places[d],
            };
            let part: Vec<Vec<u64>> = (0..sizes.len()).map(|d| (0..sizes[d]).filter(|i| owned(d, *i)).collect()).collect();
            let made = Datatype::darray((ranks, rank), &sizes, &deals, &grid, order, &element.0).unwrap();
            Pair(made, of_array(&sizes, &part, order, &element.1)).check();
        }
    }

    /// A view shows copies of its file type, and tells where its data is, both ways.
    #[test]
    fn views_tile_the_file(pair in nested(), gap in 0i64..9, displacement in 0u64..50, from in 0u64..200, length in 0u64..300) {
        let Pair(of, map) = pair;
        // Where the type itself would be refused, a shifted or spread one is looked at.
        let shift = -of.true_lower_bound().min(0);
        let moved = Datatype::hindexed(&[(shift, 1)], &of).unwrap();
        let extent = moved.true_lower_bound() + moved.true_extent() + gap;
        let filetype = moved.resized(0, extent).unwrap();
        let etype = Datatype::elementary(1).unwrap();
        let view = match View::new(displacement, &etype, &filetype) {
            Ok(view) => view,
            Err(error) => {
                prop_assert_eq!(error, ViewError::Backwards);
                prop_assert!(map.bytes.windows(2).any(|pair| pair[0] >= pair[1]), "{:?}", map);
                return Ok(());
            }
        };
        let byte = |position: u64| {
            let size = map.bytes.len() as u64;
            displacement + (position / size) * extent as u64 + (map.bytes[(position % size) as usize] + shift) as u64
        };
        let expected: Vec<u64> = if map.bytes.is_empty() { vec![] } else { (from..from + length).map(byte).collect() };
        let found: Vec<u64> = view.extents(from, length).flat_map(|e| e.start()..e.end()).collect();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(view.file_end(from, length), expected.last().map(|last| last + 1));
        if view.is_disjoint() && !map.bytes.is_empty() {
            for offset in [0, displacement, displacement + 7, displacement + from, displacement + 3 * extent as u64 + 1] {
                let before = (0..).take_while(|position| byte(*position) < offset).count() as u64;
                prop_assert_eq!(view.data_before(offset), before, "offset {}", offset);
            }
        }
    }
}

#[test]
fn a_huge_subarray_stays_small() {
    let element = Datatype::elementary(8).unwrap();
    let sizes = [2000, 2000, 2000, 2000];
    let part = Datatype::subarray(&sizes, &[178, 178, 178, 178], &[5, 6, 7, 8], Order::C, &element).unwrap();
    assert_eq!(part.size(), 178u64.pow(4) * 8);
    assert_eq!(part.runs(), 178u64.pow(3));
    let view = View::new(0, &element, &part).unwrap();
    let last_row = view.extents(part.size() - 178 * 8, 178 * 8).collect::<Vec<_>>();
    let start = (((5 + 177) * 2000 + 6 + 177) * 2000 + 7 + 177) * 2000 + 8;
    assert_eq!(last_row, [Extent::new(start * 8, (start + 178) * 8).unwrap()]);
    assert_eq!(view.data_before(start * 8 + 16), part.size() - 178 * 8 + 16);
}

#[test]
fn regular_lists_become_repetitions_and_neighbours_join() {
    let int = Datatype::elementary(4).unwrap();
    let regular: Vec<i64> = (0..100_000).map(|i| i * 3).collect();
    let list = Datatype::indexed_block(2, &regular, &int).unwrap();
    assert!(matches!(&list.body.node.shape, Shape::Repeat { count: 100_000, stride: 12, .. }), "{list:?}");
    let dense: Vec<i64> = (0..1000).collect();
    assert!(Datatype::indexed_block(1, &dense, &int).unwrap().is_contiguous());
    let rows = Datatype::vector(10, 4, 4, &int).unwrap();
    assert!(rows.is_contiguous() && Datatype::contiguous(7, &rows).unwrap().is_contiguous());
}

#[test]
fn deep_types_are_walked_and_dropped() {
    let mut of = Datatype::elementary(1).unwrap();
    for level in 0..100_000 {
        of = Datatype::hindexed(&[(i64::from(level % 3), 1)], &of).unwrap();
        of = of.resized(0, 1).unwrap();
    }
    assert_eq!(of.segments(0, 1).count(), 1);
}

#[test]
fn impossible_types_are_refused() {
    let int = Datatype::elementary(4).unwrap();
    assert_eq!(Datatype::contiguous(1 << 62, &int).unwrap_err(), DatatypeError::TooLarge);
    assert_eq!(Datatype::hindexed(&[(i64::MAX, 2)], &int).unwrap_err(), DatatypeError::TooLarge);
    assert_eq!(Datatype::vector(3, 1, i64::MAX / 2, &int).unwrap_err(), DatatypeError::TooLarge);
    assert_eq!(int.resized(i64::MAX, 1).unwrap_err(), DatatypeError::TooLarge);
    assert_eq!(Datatype::elementary(u64::MAX).unwrap_err(), DatatypeError::TooLarge);
    let outside = Datatype::subarray(&[4], &[3], &[2], Order::C, &int).unwrap_err();
    assert_eq!(outside, DatatypeError::Subarray { dimension: 0, size: 4, subsize: 3, start: 2 });
    let grid = Datatype::darray((4, 0), &[4], &[Distribution::Block(None)], &[3], Order::C, &int).unwrap_err();
    assert_eq!(grid, DatatypeError::Grid { grid: 3, rank: 0, ranks: 4 });
    let small = Datatype::darray((2, 0), &[4], &[Distribution::Block(Some(1))], &[2], Order::C, &int).unwrap_err();
    assert!(matches!(small, DatatypeError::Distribution { dimension: 0, .. }));
}

/// HDF5 and PnetCDF make types of pieces all over the file and give them whatever extent, since they use one copy only.
#[test]
fn a_file_type_whose_copies_go_back_has_one() {
    let int = Datatype::elementary(4).unwrap();
    let pieces = Datatype::hindexed(&[(8, 1), (100, 2)], &int).unwrap();
    for extent in [0, 4, 92, -1] {
        let view = View::new(10, &int, &pieces.resized(0, extent).unwrap()).unwrap();
        let extents = |position, length| view.extents(position, length).collect::<Vec<_>>();
        assert_eq!(extents(0, 12), [Extent::new(18, 22).unwrap(), Extent::new(110, 118).unwrap()]);
        assert_eq!((view.file_end(0, 12), view.file_end(0, 13)), (Some(118), None), "extent {extent}");
        assert_eq!((view.data_before(115), view.data_before(5000)), (9, 12));
    }
    let view = View::new(10, &int, &pieces.resized(0, 93).unwrap()).unwrap();
    assert_eq!(view.file_offset(12), Some(10 + 93 + 8), "copies that go on in order");
    assert!(!view.is_disjoint() && view.clone().of_one_copy().is_disjoint());
    assert_eq!(view.of_one_copy().file_offset(12), None);
}

#[test]
fn impossible_views_are_refused() {
    let (byte, int) = (Datatype::elementary(1).unwrap(), Datatype::elementary(4).unwrap());
    let view = |filetype: &Datatype| View::new(0, &int, filetype).err();
    assert_eq!(view(&byte), Some(ViewError::NotWhole { filetype: 1, etype: 4 }));
    assert_eq!(view(&Datatype::hindexed(&[(-4, 1)], &int).unwrap()), Some(ViewError::Negative(-4)));
    assert_eq!(view(&Datatype::hindexed(&[(8, 1), (0, 1)], &int).unwrap()), Some(ViewError::Backwards));
    assert_eq!(View::new(0, &Datatype::contiguous(0, &int).unwrap(), &int).err(), Some(ViewError::EmptyEtype));
    assert!(View::new(u64::MAX, &int, &int).is_err());
    assert_eq!(View::default().extents(u64::MAX - 3, 10).count(), 0);
    assert_eq!(View::default().data_before(77), 77);
}
