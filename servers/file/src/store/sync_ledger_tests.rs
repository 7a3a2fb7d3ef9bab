//! A disk that fails when it is told to, and commits from many threads.

use super::*;
use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::thread;

const EIO: i32 = 5;

fn extent(start: u64, end: u64) -> Extent {
    Extent::new(start, end).unwrap()
}

fn ledger() -> SyncLedger {
    SyncLedger::new(PieceCount::default())
}

fn write(ledger: &SyncLedger, start: u64, end: u64) {
    let ticket = ledger.begin_write([extent(start, end)].into_iter());
    ledger.end_write(ticket, [extent(start, end)].into_iter(), true);
}

fn failing() -> io::Result<()> {
    Err(io::Error::from_raw_os_error(EIO))
}

#[test]
fn a_commit_without_new_bytes_syncs_once_and_never_again() {
    let ledger = ledger();
    let syncs = AtomicU64::new(0);
    let sync = || {
        syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    ledger.commit(sync).unwrap();
    ledger.commit(sync).unwrap();
    assert_eq!(syncs.load(Ordering::Relaxed), 1, "bytes of an earlier run may wait for the first one");
    write(&ledger, 0, 10);
    ledger.commit(sync).unwrap();
    ledger.commit(sync).unwrap();
    assert_eq!(syncs.load(Ordering::Relaxed), 2);
    ledger.sync_in_steps(|| sync().map_err(SyncFailure::Lost)).unwrap();
    assert_eq!(syncs.load(Ordering::Relaxed), 3, "a change of length is no byte, so it always syncs");
}

#[test]
fn commits_fail_until_the_lost_bytes_are_written_again() {
    let ledger = ledger();
    write(&ledger, 0, 10);
    write(&ledger, 20, 30);
    let loss = ledger.commit(failing).unwrap_err();
    assert_eq!((loss.start, loss.bytes, loss.source.raw_os_error()), (0, 20, Some(EIO)));
    let loss = ledger.commit(|| Ok(())).unwrap_err();
    assert_eq!(loss.bytes, 20, "the system reports a failure once; the ledger does not forget it");
    write(&ledger, 0, 10);
    write(&ledger, 20, 25);
    let loss = ledger.commit(|| Ok(())).unwrap_err();
    assert_eq!((loss.start, loss.bytes), (25, 5));
    write(&ledger, 24, 40);
    ledger.commit(|| Ok(())).unwrap();
    assert_eq!(ledger.standing(), Standing::Settled);
    ledger.commit(|| panic!("nothing is left to sync")).unwrap();
}

#[test]
fn a_sync_that_ended_early_is_tried_again() {
    let ledger = ledger();
    let early = || Err(SyncFailure::Unfinished(io::Error::from_raw_os_error(EIO)));
    write(&ledger, 0, 10);
    let loss = ledger.commit_in_steps(early).unwrap_err();
    assert_eq!((loss.bytes, loss.source.raw_os_error()), (0, Some(EIO)));
    assert_eq!(ledger.standing(), Standing::Uncommitted);
    ledger.commit(failing).unwrap_err();
    let loss = ledger.commit_in_steps(early).unwrap_err();
    assert_eq!(loss.bytes, 10, "what was lost stays lost");
    write(&ledger, 0, 10);
    ledger.commit(|| Ok(())).unwrap();
    ledger.commit(|| panic!("nothing is left to sync")).unwrap();
    ledger.commit_in_steps(|| panic!("nothing is left to sync")).unwrap();
}

#[test]
fn a_failed_write_rewrites_nothing() {
    let ledger = ledger();
    write(&ledger, 0, 10);
    ledger.commit(failing).unwrap_err();
    let ticket = ledger.begin_write([extent(0, 10)].into_iter());
    ledger.end_write(ticket, [extent(0, 10)].into_iter(), false);
    assert_eq!(ledger.commit(|| Ok(())).unwrap_err().bytes, 10);
}

#[test]
fn bytes_that_are_cut_away_need_not_be_written_again() {
    let ledger = ledger();
    write(&ledger, 0, 30);
    ledger.commit(failing).unwrap_err();
    ledger.cut(10);
    assert_eq!(ledger.commit(|| Ok(())).unwrap_err().bytes, 10);
    ledger.cut(0);
    ledger.commit(|| Ok(())).unwrap();
}

/// The bytes may have come after the cut.
#[test]
fn a_write_across_a_cut_is_not_forgotten() {
    let ledger = ledger();
    ledger.commit(|| Ok(())).unwrap();
    let ticket = ledger.begin_write([extent(0, 10)].into_iter());
    ledger.cut(0);
    assert_eq!(ledger.standing(), Standing::Settled);
    ledger.end_write(ticket, [extent(0, 10)].into_iter(), true);
    assert_eq!(ledger.standing(), Standing::Uncommitted);
}

/// The write began before the sync failed, so the failure may have been about its bytes.
#[test]
fn a_write_across_a_failure_is_lost() {
    let ledger = ledger();
    let ticket = ledger.begin_write([extent(0, 10)].into_iter());
    ledger.commit(failing).unwrap_err();
    ledger.end_write(ticket, [extent(0, 10)].into_iter(), true);
    assert_eq!(ledger.commit(|| Ok(())).unwrap_err().bytes, 10);
    write(&ledger, 0, 10);
    ledger.commit(|| Ok(())).unwrap();
}

/// The sync began before the write ended, so it may not have seen all of it.
#[test]
fn a_write_across_a_sync_needs_another_one() {
    let ledger = ledger();
    let ticket = ledger.begin_write([extent(0, 10)].into_iter());
    ledger.commit(|| Ok(())).unwrap();
    ledger.end_write(ticket, [extent(0, 10)].into_iter(), true);
    assert_eq!(ledger.standing(), Standing::Uncommitted);
    ledger.commit(failing).unwrap_err();
    assert_eq!(ledger.standing(), Standing::Lost);
}

#[test]
fn a_failure_with_nothing_written_fails_that_commit_only() {
    let ledger = ledger();
    assert_eq!(ledger.commit(failing).unwrap_err().bytes, 0);
    ledger.commit(|| Ok(())).unwrap();
}

/// All writers wait while one sync runs; the next one serves all of them.
#[test]
fn commits_at_the_same_time_share_a_sync() {
    const WRITERS: u64 = 16;
    let ledger = ledger();
    let syncs = AtomicU64::new(0);
    let (entered, leave) = (Barrier::new(2), Barrier::new(2));
    write(&ledger, 1000, 1001);
    thread::scope(|scope| {
        scope.spawn(|| {
            ledger.commit(|| {
                entered.wait();
                leave.wait();
                Ok(())
            })
        });
        entered.wait();
        let waiting: Vec<_> = (0..WRITERS)
            .map(|i| {
                write(&ledger, i * 10, i * 10 + 1);
                let (ledger, syncs) = (&ledger, &syncs);
                scope.spawn(move || {
                    ledger.commit(|| {
                        syncs.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    })
                })
            })
            .collect();
        leave.wait();
        waiting.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    });
    assert_eq!(syncs.load(Ordering::Relaxed), 1, "every byte was written before the second sync could begin");
    assert_eq!(ledger.standing(), Standing::Settled);
}

#[test]
fn pieces_are_counted_and_given_back() {
    let count = PieceCount::default();
    let ledger = SyncLedger::new(count.clone());
    (0..10).for_each(|i| write(&ledger, i * 10, i * 10 + 1));
    assert_eq!((count.get(), ledger.pieces()), (10, 10));
    write(&ledger, 0, 100);
    assert_eq!(count.get(), 1);
    ledger.commit(|| Ok(())).unwrap();
    assert_eq!(count.get(), 0);
    write(&ledger, 0, 1);
    drop(ledger);
    assert_eq!(count.get(), 0);
}
