//! The file of open marks: what it keeps, and what damage it tells from a beginning.

use super::super::super::disk::RealDisk;
use super::*;

fn mark(file: u64, region: u64) -> Mark {
    Mark { object: ObjectId { file: FileId::new(file).unwrap(), slot: 3 }, region: Region::one(region) }
}

fn open(directory: &Path) -> (MarkFile<RealDisk>, LastRun) {
    MarkFile::open(&RealDisk, directory).unwrap()
}

#[test]
fn marks_are_there_until_they_are_cleared() {
    let directory = tempfile::tempdir().unwrap();
    let (marks, last) = open(directory.path());
    assert!(!last.was_shut_down && last.marks.is_empty());
    marks.begin().unwrap();
    assert!(marks.is_empty());
    let tail = Mark { region: Region::tail(7), ..mark(3, 0) };
    let places: Vec<_> = [mark(1, 0), mark(2, 5), tail].into_iter().map(|mark| marks.put(mark).unwrap()).collect();
    marks.sync().unwrap();
    assert_eq!(open(directory.path()).1.marks, [mark(1, 0), mark(2, 5), tail]);
    marks.clear(places[1]);
    assert_eq!(open(directory.path()).1.marks, [mark(1, 0), tail]);
    assert_eq!(marks.put(mark(4, 4)).unwrap(), places[1], "a free place is used again");
    [places[0], places[1], places[2]].into_iter().for_each(|place| marks.clear(place));
    assert!(marks.is_empty());
    marks.end().unwrap();
    let (marks, last) = open(directory.path());
    assert!(last.was_shut_down && last.marks.is_empty());
    marks.begin().unwrap();
    assert!(!open(directory.path()).1.was_shut_down);
}

#[test]
fn a_file_that_was_not_finished_is_a_new_one() {
    for bytes in [&[][..], &[0; 100], &[0; 600]] {
        let last = parse(bytes).unwrap();
        assert!(!last.was_shut_down && last.marks.is_empty());
    }
}

#[test]
fn a_damaged_mark_is_none_and_a_damaged_header_an_error() {
    let mut bytes = header(IN_USE).to_vec();
    bytes.extend(record(mark(1, 2)));
    bytes.extend(record(mark(3, 4)));
    assert_eq!(parse(&bytes).unwrap().marks, [mark(1, 2), mark(3, 4)]);
    assert_eq!(parse(&bytes[..bytes.len() - 1]).unwrap().marks, [mark(1, 2)]);
    for bit in 0..MARK_BYTES * 8 {
        let mut damaged = bytes.clone();
        damaged[HEADER_BYTES + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(parse(&damaged).unwrap().marks, [mark(3, 4)], "bit {bit} of the mark");
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(parse(&damaged).unwrap_err().contains("damaged"), "bit {bit} of the header");
    }
    let mut other = header(IN_USE);
    other[8] = 2;
    seal(&mut other[..MARK_BYTES]);
    assert!(parse(&other).unwrap_err().contains("version 2"));
}
