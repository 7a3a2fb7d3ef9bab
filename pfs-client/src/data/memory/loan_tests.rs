//! Every way in which a call that lends memory can end. These run under Miri too.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

fn lend<R>(slices: &[&[u8]], call: impl FnOnce(Vec<LentSlice>) -> R) -> R {
    // SAFETY: the guard is dropped at the end of this function, however it ends.
    let (lent, _recall) = unsafe { super::lend(slices) };
    call(lent)
}

fn lend_mut<R>(buffers: &mut [&mut [u8]], call: impl FnOnce(Arc<LentBuffers>) -> R) -> R {
    // SAFETY: as above.
    let (lent, _recall) = unsafe { super::lend_mut(buffers) };
    call(lent)
}

fn ship(slice: &LentSlice) -> (Arc<Shipment>, oneshot::Receiver<()>) {
    slice.ship(&KillSwitch::default()).unwrap()
}

#[test]
fn bytes_are_the_callers_until_their_last_owner_is_gone() {
    let buffer = vec![1u8, 2, 3, 4, 5, 6];
    let (send, receive) = mpsc::channel::<Bytes>();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            // A transport that sends late, in parts.
            let bytes: Vec<Bytes> = receive.iter().collect();
            told.recv().unwrap();
            assert_eq!(bytes.concat(), [2, 3, 4, 5, 6]);
        });
        let outcome = lend(&[&buffer[..4], &buffer[4..]], |slices| {
            let (shipment, _released) = ship(&slices[0]);
            let first = shipment.bytes(&slices[0], 1..4);
            send.send(first.slice(..1)).unwrap();
            send.send(first.slice(1..)).unwrap();
            drop(first);
            send.send(shipment.bytes(&slices[1], 0..2)).unwrap();
            drop(send);
            tell.send(()).unwrap();
            7
        });
        assert_eq!(outcome, 7);
    });
    drop(buffer);
}

#[test]
fn a_shipment_tells_when_it_is_over() {
    let buffer = [9u8; 8];
    lend(&[&buffer], |slices| {
        let (shipment, mut released) = ship(&slices[0]);
        let part = shipment.bytes(&slices[0], 2..8);
        drop(shipment);
        assert_eq!(released.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(part, [9u8; 6][..]);
        drop(part);
        assert_eq!(released.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    });
}

#[test]
fn nothing_of_a_recalled_loan_can_be_had() {
    let mut buffer = vec![0u8; 4];
    let slices = lend(&[&buffer], |slices| slices);
    assert_eq!(slices[0].ship(&KillSwitch::default()).unwrap_err(), Recalled);
    let lent = lend_mut(&mut [&mut buffer], |lent| {
        lent.with(0, 1..3, |part| part.fill(7)).unwrap();
        lent
    });
    assert_eq!(buffer, [0, 7, 7, 0]);
    assert_eq!(lent.with(0, 0..1, |_| ()), Err(Recalled));
}

#[test]
fn a_panic_waits_for_the_owners_too() {
    let buffer = vec![5u8; 100];
    let (send, receive) = mpsc::channel::<Bytes>();
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let transport = scope.spawn(move || {
            let bytes = receive.recv().unwrap();
            told.recv().unwrap();
            let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
            drop(bytes);
            sum
        });
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            lend(&[&buffer], |slices| {
                let (shipment, _) = ship(&slices[0]);
                send.send(shipment.bytes(&slices[0], 0..100)).unwrap();
                tell.send(()).unwrap();
                panic!("of the caller");
            })
        }));
        assert!(unwound.is_err());
        drop(buffer);
        assert_eq!(transport.join().unwrap(), 500);
    });
}

/// What a user could forget, if he had it, keeps its own bytes only.
#[test]
fn forgotten_slices_and_buffers_keep_nothing() {
    let mut buffer = vec![1u8; 16];
    lend(&[&buffer], std::mem::forget);
    lend_mut(&mut [&mut buffer], std::mem::forget);
    buffer.fill(2);
    assert_eq!(buffer, [2; 16]);
}

/// An access that is dropped before it is done: its future has the guard.
#[test]
fn an_unfinished_future_gives_everything_back() {
    use futures::FutureExt;
    let mut buffer = vec![1u8; 16];
    let (mut slices, mut filled) = (Vec::new(), None);
    let sending = async {
        // SAFETY: the future is dropped below.
        let (lent, _recall) = unsafe { super::lend(&[&buffer]) };
        slices = lent;
        std::future::pending::<()>().await;
    };
    assert_eq!(sending.now_or_never(), None);
    assert_eq!(slices[0].ship(&KillSwitch::default()).unwrap_err(), Recalled);
    let receiving = async {
        // SAFETY: the future is dropped below.
        let (lent, _recall) = unsafe { super::lend_mut(&mut [&mut buffer]) };
        lent.with(0, 0..2, |part| part.fill(8)).unwrap();
        filled = Some(lent);
        std::future::pending::<()>().await;
    };
    assert_eq!(receiving.now_or_never(), None);
    assert_eq!(filled.unwrap().with(0, 0..1, |_| ()), Err(Recalled));
    assert_eq!(buffer[..3], [8, 8, 1]);
}

/// A transport that holds on until its connection is killed.
#[test]
fn who_keeps_the_bytes_loses_the_connection() {
    use tokio::io::AsyncReadExt;
    let buffer = vec![3u8; 50];
    let switch = KillSwitch::default();
    let (near, _far) = tokio::io::duplex(8);
    let mut near = switch.guard(near);
    let (send, receive) = mpsc::channel::<Bytes>();
    thread::scope(|scope| {
        let connection = scope.spawn(move || {
            let held = receive.recv().unwrap();
            // Nothing ever comes: only a kill ends the wait.
            let end = futures::executor::block_on(near.read_u8());
            (held.len(), end.unwrap_err().kind())
        });
        lend(&[&buffer], |slices| {
            let (shipment, _) = slices[0].ship(&switch).unwrap();
            send.send(shipment.bytes(&slices[0], 0..50)).unwrap();
        });
        drop(buffer);
        let (length, end) = connection.join().unwrap();
        assert_eq!((length, end), (50, std::io::ErrorKind::ConnectionAborted));
    });
}

#[test]
fn several_threads_fill_one_buffer() {
    let mut first = vec![0u8; 64];
    let mut second = vec![0u8; 64];
    lend_mut(&mut [&mut first, &mut second], |lent| {
        thread::scope(|scope| {
            for number in 0..4 {
                let lent = lent.clone();
                scope.spawn(move || {
                    let range = 16 * number..16 * number + 16;
                    for buffer in 0..2 {
                        lent.with(buffer, range.clone(), |part| part.fill(number as u8 + 1)).unwrap();
                    }
                });
            }
        });
    });
    for buffer in [first, second] {
        assert!(buffer.chunks(16).zip(1u8..).all(|(part, number)| part.iter().all(|byte| *byte == number)));
    }
}
