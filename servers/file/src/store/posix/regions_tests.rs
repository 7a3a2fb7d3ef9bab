//! When a region is marked, and which sync may clear its mark.

use super::super::super::disk::RealDisk;
use super::*;
use pfs_core::extent::ObjectOffset;
use pfs_core::ids::FileId;
use std::path::Path;

fn object() -> ObjectId {
    ObjectId { file: FileId::new(1).unwrap(), slot: 0 }
}

fn marks(directory: &Path) -> MarkFile<RealDisk> {
    MarkFile::open(&RealDisk, directory).unwrap().0
}

fn one(number: u64) -> RegionList {
    RegionList::from_slice(&[Region::one(number)])
}

fn extent(start: u64, end: u64) -> ObjectExtent {
    ObjectExtent::new(ObjectOffset(start), end - start).unwrap()
}

#[test]
fn extents_have_the_regions_that_they_touch() {
    let at = |number: u64| number * REGION_BYTES;
    let regions = regions_of(&[extent(0, 1), extent(5, at(2)), extent(at(2) - 1, at(2) + 1)]);
    assert_eq!(regions[..], [0, 1, 2].map(Region::one));
    assert_eq!(regions_of(&[extent(at(3), at(300))])[..], [Region::tail(3)]);
    assert_eq!(Region::one(3).bytes(), (at(3), at(4)));
    assert_eq!(Region::tail(3).bytes(), (at(3), u64::MAX));
    assert_eq!(Region::from_bits(Region::tail(3).to_bits()), Region::tail(3));
}

#[test]
fn a_sync_clears_what_nobody_wrote_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let marks = marks(directory.path());
    let regions = OpenRegions::new(object(), true);
    assert!(regions.enter(one(0), &marks, Wait::Never).unwrap().is_none(), "a mark has to be waited for");
    for number in 0..3 {
        let entered = regions.enter(one(number), &marks, Wait::Allowed).unwrap().unwrap();
        regions.leave(entered, &marks);
    }
    let before = regions.enter(one(1), &marks, Wait::Never).unwrap().expect("it is marked");
    regions.begin_sync();
    let meanwhile = regions.enter(one(2), &marks, Wait::Never).unwrap().unwrap();
    regions.leave(meanwhile, &marks);
    regions.leave(before, &marks);
    regions.end_sync(true, &marks);
    assert!(regions.enter(one(0), &marks, Wait::Never).unwrap().is_none(), "nobody wrote to it, so it is closed");
    for number in 1..3 {
        let entered = regions.enter(one(number), &marks, Wait::Never).unwrap().expect("it stays marked");
        regions.leave(entered, &marks);
    }
    regions.begin_sync();
    regions.end_sync(false, &marks);
    assert!(!marks.is_empty(), "a failed sync closes nothing");
    regions.begin_sync();
    regions.end_sync(true, &marks);
    assert!(marks.is_empty() && !regions.any_open());
}

/// What is written while an object is first committed is marked before the object counts as committed.
#[test]
fn the_first_commit_marks_what_it_does_not_cover() {
    let directory = tempfile::tempdir().unwrap();
    let marks = marks(directory.path());
    let regions = OpenRegions::new(object(), false);
    for number in 0..2 {
        let entered = regions.enter(one(number), &marks, Wait::Never).unwrap().expect("it needs no mark");
        regions.leave(entered, &marks);
    }
    let during = regions.enter(one(2), &marks, Wait::Never).unwrap().unwrap();
    assert!(marks.is_empty());
    regions.begin_sync();
    let entered = regions.enter(one(1), &marks, Wait::Never).unwrap().unwrap();
    regions.leave(entered, &marks);
    regions.need_marks(&marks).unwrap();
    drop(marks);
    let (marks, last) = MarkFile::open(&RealDisk, directory.path()).unwrap();
    assert_eq!(last.marks.iter().map(|mark| mark.region).collect::<Vec<_>>(), [1, 2].map(Region::one));
    assert!(regions.enter(one(0), &marks, Wait::Never).unwrap().is_none(), "from here on marks are needed");
    regions.leave(during, &marks);
}
