//! The answers' side of the stream: messages however they are cut.

use super::*;
use proptest::prelude::*;

fn answers(ids: std::ops::Range<u64>) -> Vec<u8> {
    let mut encoded = Vec::new();
    for id in ids {
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
        let encoded = answers(1..20);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (encoded.len() + 1)).collect();
        cuts.extend([0, encoded.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| Bytes::copy_from_slice(&encoded[pair[0]..pair[1]])).collect();
        let shared = Mutex::new(Shared::default());
        let mut waiting = Vec::new();
        for id in 1..20 {
            let (answer, answered) = oneshot::channel();
            shared.lock().pending.insert(id, Pending { answer, since: Instant::now() });
            waiting.push((id, answered));
        }
        futures::executor::block_on(read(&mut body(chunks), &shared)).unwrap();
        prop_assert!(shared.lock().pending.is_empty());
        for (id, mut answered) in waiting {
            match answered.try_recv().unwrap().unwrap() {
                Outcome::Read(reply) => prop_assert!(reply.instance == id && reply.payload == vec![id as u8; 100]),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn nonsense_ends_the_stream_with_an_error_or_is_no_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let shared = Mutex::new(Shared::default());
        let _ = futures::executor::block_on(read(&mut body(vec![bytes.into()]), &shared));
    }
}

/// A stream that ends fails what is pending, and forgets what was not sent.
#[test]
fn the_end_of_a_stream_is_told_to_all() {
    let shared = Arc::new(Mutex::new(Shared { stream: 3, open: true, ..Shared::default() }));
    let (answer, mut answered) = oneshot::channel();
    shared.lock().pending.insert(9, Pending { answer, since: Instant::now() });
    shared.lock().outbox.put_slice(b"unsent");
    drop(End { shared: shared.clone(), stream: 3, why: None });
    assert_eq!(answered.try_recv().unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(shared.lock().outbox.is_empty() && !shared.lock().open);
    let mut requests = Requests { shared, stream: 3 };
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(http_body::Body::poll_frame(Pin::new(&mut requests), &mut cx), Poll::Ready(None)));
}

#[test]
fn an_overdue_request_fails_alone() {
    let shared = Mutex::new(Shared::default());
    let (now, timeout) = (Instant::now(), Duration::from_secs(1000));
    let ages = [2000, 1500, 10].map(Duration::from_secs);
    let Some(born) = ages.iter().map(|age| now.checked_sub(*age)).collect::<Option<Vec<_>>>() else {
        panic!("this machine was started a moment ago")
    };
    let mut answers = Vec::new();
    for (id, since) in (1..).zip(born) {
        let (answer, answered) = oneshot::channel();
        shared.lock().pending.insert(id, Pending { answer, since });
        answers.push(answered);
    }
    let next = expire(&shared, timeout);
    assert!(next > now && next < now + timeout);
    assert_eq!(answers[0].try_recv().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(answers[1].try_recv().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(answers[2].try_recv().is_err(), "it waits");
    assert!(shared.lock().pending.contains_key(&3));
}
