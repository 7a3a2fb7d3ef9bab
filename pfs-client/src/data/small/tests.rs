//! The answers' side of the stream: messages however they are cut.

use super::*;
use proptest::prelude::*;

/// The ids of the first requests.
fn ids(count: usize) -> Vec<u64> {
    let mut outstanding = Outstanding::default();
    (0..count).map(|_| outstanding.enter(Instant::now())).collect()
}

fn post(desk: &Desk) -> Posted<'_> {
    let id = desk.shared.lock().outstanding.enter(Instant::now());
    Posted { desk, id: Some(id) }
}

fn desk(stream: u64) -> Arc<Desk> {
    let shared = Shared { stream, open: true, ..Shared::default() };
    Arc::new(Desk { shared: Mutex::new(shared), ..Desk::default() })
}

fn poll(posted: &mut Posted<'_>) -> Poll<Result<Outcome, Error>> {
    Pin::new(posted).poll(&mut Context::from_waker(Waker::noop()))
}

fn answers(ids: &[u64]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for &id in ids {
        let reply = v1::ReadReply { instance: id, checksums: vec![1], payload: vec![id as u8; 100].into() };
        let message = v1::SmallReply { id, outcome: Some(Outcome::Read(reply)) };
        put_prefix(&mut encoded, message.encoded_len());
        message.encode(&mut encoded).unwrap();
    }
    encoded
}

fn body(chunks: Vec<Bytes>) -> Answer {
    let trailers = [("grpc-status", "0")].map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let frames = chunks.into_iter().map(Frame::data).chain([Frame::trailers(trailers.into_iter().collect())]);
    let frames = frames.map(Ok::<_, Status>);
    Answer::new(Body::new(http_body_util::StreamBody::new(futures::stream::iter(frames))))
}

proptest! {
    #[test]
    fn every_request_gets_its_answer(cuts in prop::collection::vec(0usize..2500, 0..30)) {
        let ids = ids(19);
        let encoded = answers(&ids);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (encoded.len() + 1)).collect();
        cuts.extend([0, encoded.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| Bytes::copy_from_slice(&encoded[pair[0]..pair[1]])).collect();
        let desk = Desk::default();
        let waiting: Vec<_> = (0..ids.len()).map(|_| post(&desk)).collect();
        prop_assert_eq!(waiting.iter().map(|posted| posted.id.unwrap()).collect::<Vec<_>>(), ids);
        futures::executor::block_on(read(&mut body(chunks), &desk)).unwrap();
        prop_assert_eq!(desk.answered.load(Ordering::Relaxed), 19);
        for mut posted in waiting {
            let id = posted.id.unwrap();
            match poll(&mut posted) {
                Poll::Ready(Ok(Outcome::Read(reply))) => {
                    prop_assert!(reply.instance == id && reply.payload == vec![id as u8; 100]);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn nonsense_ends_the_stream_with_an_error_or_is_no_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = futures::executor::block_on(read(&mut body(vec![bytes.into()]), &Desk::default()));
    }
}

/// A stream that ends fails what is outstanding, and forgets what was not sent.
#[test]
fn the_end_of_a_stream_is_told_to_all() {
    let desk = desk(3);
    let mut posted = post(&desk);
    desk.shared.lock().outbox.put_slice(b"unsent");
    drop(End { desk: desk.clone(), stream: 3, why: None });
    assert!(matches!(poll(&mut posted), Poll::Ready(Err(error)) if error.kind() == ErrorKind::Unavailable));
    assert!(desk.shared.lock().outbox.is_empty() && !desk.shared.lock().open);
    let mut requests = Requests { desk: desk.clone(), stream: 3, looks: 0 };
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(http_body::Body::poll_frame(Pin::new(&mut requests), &mut cx), Poll::Ready(None)));
}

/// Who goes away leaves no place taken.
#[test]
fn a_request_that_nobody_waits_for_is_forgotten() {
    let desk = Desk::default();
    let posted = post(&desk);
    let id = posted.id.unwrap();
    drop(posted);
    let late = Ok(Outcome::Read(v1::ReadReply::default()));
    assert!(!desk.shared.lock().outstanding.answer(id, late, &mut Vec::new()));
}

/// How many bytes the next frame has, and after how many looks it came.
fn frame(requests: &mut Requests) -> (usize, u32) {
    let mut cx = Context::from_waker(Waker::noop());
    for looks in 0.. {
        if let Poll::Ready(Some(Ok(frame))) = http_body::Body::poll_frame(Pin::new(requests), &mut cx) {
            return (frame.into_data().unwrap().len(), looks);
        }
    }
    unreachable!("looks are bounded")
}

/// After three answers a frame waits for three requests, but not for ever; without answers it does not wait.
#[test]
fn a_frame_waits_for_company_if_some_may_come_and_not_for_long() {
    let desk = desk(1);
    let mut requests = Requests { desk: desk.clone(), stream: 1, looks: 0 };
    let put = |count: u32| {
        desk.shared.lock().outbox.put_bytes(1, count as usize);
        desk.posted.fetch_add(count, Ordering::Relaxed);
    };
    put(1);
    assert_eq!(frame(&mut requests), (1, 0));
    desk.answered.store(3, Ordering::Relaxed);
    put(3);
    assert_eq!(frame(&mut requests), (3, 0));
    desk.answered.store(3, Ordering::Relaxed);
    put(2);
    assert_eq!(frame(&mut requests), (2, LOOKS_MAX));
    put(1);
    assert_eq!(frame(&mut requests), (1, 0), "those that did not come are not waited for again");
}

/// The first of two that were answered wakes the other one, if the stream has not yet.
#[test]
fn who_has_an_answer_wakes_the_others() {
    struct Woken(AtomicU32);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let desk = Desk::default();
    let (mut first, mut second) = (post(&desk), post(&desk));
    let woken = Arc::new(Woken(AtomicU32::new(0)));
    assert!(Pin::new(&mut second).poll(&mut Context::from_waker(&woken.clone().into())).is_pending());
    {
        let mut shared = desk.shared.lock();
        let Shared { outstanding, to_wake, .. } = &mut *shared;
        for posted in [&first, &second] {
            assert!(outstanding.answer(posted.id.unwrap(), Ok(Outcome::Read(v1::ReadReply::default())), to_wake));
        }
    }
    assert!(poll(&mut first).is_ready());
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(poll(&mut second).is_ready());
    assert!(desk.shared.lock().to_wake.is_empty());
}
