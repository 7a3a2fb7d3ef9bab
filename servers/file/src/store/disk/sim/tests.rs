//! What a loss of power leaves, and what it must not.

use super::super::DiskFile;
use super::*;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn made(disk: &SimDisk, name: &str) -> SimFile {
    let file = disk.create(Path::new(name)).unwrap();
    disk.sync_directory(Path::new("/")).unwrap();
    file
}

/// All different outcomes of many losses of power at the end, as `look` sees them.
fn outcomes<T: Ord>(disk: &SimDisk, look: impl Fn(&SimDisk) -> T) -> BTreeSet<T> {
    let recording = disk.recording();
    let mut platter = recording.start();
    recording.changes().iter().for_each(|change| platter.apply(change));
    let mut random = 88_172_645_463_325_252u64;
    let mut choose = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    (0..2000).map(|_| look(&platter.after_power_loss(Survivors::Some, &mut choose))).collect()
}

fn bytes(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(name)).ok()?;
    let mut bytes = vec![0; file.status().unwrap().length as usize];
    file.read_to_end(&mut bytes, 0).unwrap();
    Some(bytes)
}

/// First byte of each sector, and the length.
fn sketch(disk: &SimDisk, name: &str) -> (Vec<u8>, usize) {
    let bytes = bytes(disk, name).unwrap();
    (bytes.chunks(512).map(|sector| sector[0]).collect(), bytes.len())
}

#[test]
fn what_was_synced_stays() {
    let disk = SimDisk::default();
    let file = made(&disk, "/a");
    file.write_all(&[1; 1024], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, |disk| bytes(disk, "/a")), BTreeSet::from([Some(vec![1; 1024])]));
}

#[test]
fn writes_survive_sector_by_sector() {
    let disk = SimDisk::default();
    let file = made(&disk, "/a");
    file.write_all(&[1; 1024], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all(&[2; 1024], 0).unwrap();
    file.write_all(&[3; 512], 512).unwrap();
    let seen = outcomes(&disk, |disk| sketch(disk, "/a").0);
    let expected = [[1, 1], [1, 2], [1, 3], [2, 1], [2, 2], [2, 3]];
    assert_eq!(seen, expected.map(Vec::from).into());
}

#[test]
fn a_sector_is_whole() {
    let disk = SimDisk::default();
    let file = made(&disk, "/a");
    file.write_all(&[1; 512], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all(&[2; 100], 0).unwrap();
    file.write_all(&[3; 100], 50).unwrap();
    let after = |parts: &[(u8, usize)]| parts.iter().flat_map(|&(byte, count)| vec![byte; count]).collect::<Vec<u8>>();
    let old = after(&[(1, 512)]);
    let one = after(&[(2, 100), (1, 412)]);
    let both = after(&[(2, 50), (3, 100), (1, 362)]);
    assert_eq!(outcomes(&disk, |disk| bytes(disk, "/a").unwrap()), BTreeSet::from([old, one, both]));
}

#[test]
fn a_length_grows_by_any_part() {
    let disk = SimDisk::default();
    let file = made(&disk, "/a");
    file.write_all(&[1; 300], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all(&[2; 1000], 300).unwrap();
    let seen = outcomes(&disk, |disk| bytes(disk, "/a").unwrap());
    let lengths: BTreeSet<usize> = seen.iter().map(Vec::len).collect();
    assert_eq!(lengths, BTreeSet::from([300, 512, 1024, 1300]));
    for bytes in &seen {
        assert!(bytes[..300].iter().all(|byte| *byte == 1));
        assert!(bytes[300..].iter().all(|byte| [0, 2].contains(byte)), "{bytes:?}");
    }
}

#[test]
fn a_truncation_is_one_step_and_comes_before_what_follows_it() {
    let disk = SimDisk::default();
    let file = made(&disk, "/a");
    file.write_all(&[1; 1536], 0).unwrap();
    file.sync_data().unwrap();
    file.set_len(0).unwrap();
    file.write_all(&[2; 512], 512).unwrap();
    let seen = outcomes(&disk, |disk| sketch(disk, "/a"));
    let expected = [(vec![1, 1, 1], 1536), (vec![], 0), (vec![0], 512), (vec![0, 0], 1024), (vec![0, 2], 1024)];
    assert_eq!(seen, expected.into());
}

#[test]
fn a_hole_is_punched_piece_by_piece() {
    let disk = SimDisk::default();
    let file = made(&disk, "/a");
    file.write_all(&[1; 1024], 0).unwrap();
    file.sync_data().unwrap();
    file.punch(0, 4096).unwrap();
    assert_eq!(file.status().unwrap().length, 1024);
    let seen = outcomes(&disk, |disk| sketch(disk, "/a").0);
    assert_eq!(seen, [[0, 0], [0, 1], [1, 0], [1, 1]].map(Vec::from).into());
}

#[test]
fn names_wait_for_their_directory_and_not_for_the_bytes() {
    let disk = SimDisk::default();
    let a = disk.create(Path::new("/a")).unwrap();
    a.write_all(&[1; 512], 0).unwrap();
    a.sync_data().unwrap();
    let seen = outcomes(&disk, |disk| bytes(disk, "/a"));
    assert_eq!(seen, BTreeSet::from([None, Some(vec![1; 512])]));
    disk.sync_directory(Path::new("/")).unwrap();
    assert_eq!(outcomes(&disk, |disk| bytes(disk, "/a")), BTreeSet::from([Some(vec![1; 512])]));
    disk.unlink(Path::new("/a")).unwrap();
    disk.create(Path::new("/b")).unwrap();
    let names = |disk: &SimDisk| disk.list(Path::new("/")).unwrap();
    assert_eq!(outcomes(&disk, names).len(), 4, "each of the two by itself");
}

#[test]
fn a_rename_is_one_step() {
    let disk = SimDisk::default();
    for (name, byte) in [("/new", 2), ("/old", 1)] {
        let file = made(&disk, name);
        file.write_all(&[byte], 0).unwrap();
        file.sync_data().unwrap();
    }
    disk.rename(Path::new("/new"), Path::new("/old")).unwrap();
    let seen = outcomes(&disk, |disk| (bytes(disk, "/old"), bytes(disk, "/new")));
    assert_eq!(seen, BTreeSet::from([(Some(vec![1]), Some(vec![2])), (Some(vec![2]), None)]));
}

#[test]
fn what_lies_in_a_lost_directory_is_lost() {
    let disk = SimDisk::default();
    disk.make_directory(Path::new("/d")).unwrap();
    disk.create(Path::new("/d/a")).unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    let inside = |disk: &SimDisk| disk.list(Path::new("/d")).ok();
    assert_eq!(outcomes(&disk, inside), BTreeSet::from([None, Some(vec![PathBuf::from("a").into()])]));
}

#[test]
fn nothing_and_everything_are_what_they_say() {
    let disk = SimDisk::default();
    let file = made(&disk, "/a");
    file.write_all(&[1; 700], 0).unwrap();
    disk.create(Path::new("/b")).unwrap();
    let recording = disk.recording();
    let mut platter = recording.start();
    recording.changes().iter().for_each(|change| platter.apply(change));
    let mut never = |_| panic!("nothing is left to chance");
    let nothing = platter.after_power_loss(Survivors::Nothing, &mut never);
    assert_eq!((bytes(&nothing, "/a"), bytes(&nothing, "/b")), (Some(vec![]), None));
    let everything = platter.after_power_loss(Survivors::Everything, &mut never);
    assert_eq!((bytes(&everything, "/a"), bytes(&everything, "/b")), (Some(vec![1; 700]), Some(vec![])));
}

#[test]
fn the_simulated_disk_keeps_its_promises() {
    let disk = SimDisk::default();
    disk.make_directory(Path::new("/d")).unwrap();
    super::super::tests::all(&disk, Path::new("/d"));
}
