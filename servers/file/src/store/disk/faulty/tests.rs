//! What faults do to a disk.

use super::super::sim::SimDisk;
use super::super::tests::all;
use super::*;

fn disk() -> FaultyDisk<SimDisk> {
    let disk = SimDisk::default();
    disk.make_directory(Path::new("/d")).unwrap();
    FaultyDisk::new(disk)
}

fn bytes(file: &impl DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.status().unwrap().length).unwrap()];
    file.read_to_end(&mut bytes, 0).unwrap();
    bytes
}

fn errno<T: std::fmt::Debug>(outcome: io::Result<T>) -> Errno {
    Errno::from_io_error(&outcome.unwrap_err()).unwrap()
}

#[test]
fn harmless_faults_break_no_promise() {
    let disk = disk();
    disk.add_harmless();
    all(&disk, Path::new("/d"));
    assert!(disk.struck() > 20, "{}", disk.struck());
}

#[test]
fn rules_are_about_some_calls_of_some_files() {
    let disk = disk();
    let file = |name: &str| disk.create(&Path::new("/d").join(name)).unwrap();
    let (a, b) = (file("a"), file("b"));
    disk.add(Rule::new(Call::Write, Fault::Error(Errno::IO)).of(|path| path.ends_with("a")).numbers(1..3));
    let outcome = |file: &FaultyFile<_>| (0..4).map(|at| file.write_all(b"x", at).is_ok()).collect::<Vec<_>>();
    assert_eq!(outcome(&b), [true; 4]);
    assert_eq!(outcome(&a), [true, false, false, true]);
    assert_eq!(bytes(&a), b"x\0\0x");
    disk.add(Rule::new(Call::Sync, Fault::Error(Errno::IO)).every(2));
    assert_eq!([a.sync_data().is_ok(), b.sync_data().is_ok(), a.sync_data().is_ok()], [true, false, true]);
    disk.heal();
    assert_eq!([a.sync_data().is_ok(), b.sync_data().is_ok()], [true, true]);
}

#[test]
fn a_write_can_fail_half_way() {
    let disk = disk();
    let file = disk.create(Path::new("/d/a")).unwrap();
    disk.add(Rule::new(Call::Write, Fault::ErrorHalfWay(Errno::IO)).once());
    assert_eq!(errno(file.write_all(b"12345678", 0)), Errno::IO);
    assert_eq!(bytes(&file), b"1234");
}

#[test]
fn space_ends_in_the_middle_of_a_write_and_comes_back() {
    let disk = disk();
    let (path, other) = (Path::new("/d/a"), Path::new("/d/b"));
    let file = disk.create(path).unwrap();
    disk.limit_space(2);
    assert_eq!(errno(file.write_all(&[1; 10_000], 100)), Errno::NOSPC);
    assert_eq!(file.status().unwrap().length, 8192, "two blocks had room");
    file.write_all(&[2; 8192], 0).unwrap();
    let second = disk.create(other).unwrap();
    assert_eq!(errno(second.write_all(b"x", 0)), Errno::NOSPC);
    assert_eq!(errno(second.allocate(0, 1)), Errno::NOSPC);
    file.set_len(4096).unwrap();
    second.allocate(0, 4096).unwrap();
    second.write_all(b"x", 0).unwrap();
    disk.unlink(path).unwrap();
    second.write_all(b"x", 4096).unwrap();
    second.punch(0, 4096).unwrap();
    second.write_all(b"x", 8192).unwrap();
    assert_eq!(errno(second.write_all(b"x", 0)), Errno::NOSPC);
    disk.heal();
    second.write_all(b"x", 0).unwrap();
}

#[test]
fn a_failed_sync_loses_what_it_was_about_and_says_so_once() {
    let disk = disk();
    disk.add(Rule::new(Call::Sync, Fault::LoseAndFail(Errno::IO)).numbers(1..2));
    let file = disk.create(Path::new("/d/a")).unwrap();
    file.write_all(b"synced", 0).unwrap();
    file.sync_data().unwrap();
    file.write_all(b"YNCE", 1).unwrap();
    file.write_all(b"longer", 6).unwrap();
    assert_eq!(errno(file.sync_data()), Errno::IO);
    assert_eq!(bytes(&file), b"synced");
    file.sync_data().unwrap();
}

#[test]
fn a_lying_disk_syncs_nothing() {
    let disk = disk();
    disk.add(Rule::new(Call::Sync, Fault::Ignore));
    disk.add(Rule::new(Call::SyncDirectory, Fault::Ignore));
    let file = disk.create(Path::new("/d/a")).unwrap();
    let before = disk.inner().changes();
    file.sync_data().unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    assert_eq!(disk.inner().changes(), before);
}

/// No time passes in this test: the gate tells that somebody waits at it.
#[test]
fn slow_calls_wait_at_a_gate_and_nobody_else_does() {
    let disk = disk();
    let gate = Gate::default();
    let (slow, quick) = (disk.create(Path::new("/d/a")).unwrap(), disk.create(Path::new("/d/b")).unwrap());
    disk.add(Rule::new(Call::Write, Fault::Wait(gate.clone())).of(|path| path.ends_with("a")));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| slow.write_all(b"slow", 0));
        gate.wait_for(1);
        quick.write_all(b"quick", 0).unwrap();
        assert_eq!(bytes(&slow), b"");
        gate.open();
        writing.join().unwrap().unwrap();
    });
    assert_eq!(bytes(&slow), b"slow");
}
