//! Bodies that are fed by hand, with the clock stopped.

use super::*;
use std::collections::VecDeque;
use tokio::time::timeout;

/// Frames that are there; then it ends, or hangs for ever.
struct Fed {
    frames: VecDeque<Bytes>,
    hangs: bool,
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.frames.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None if self.hangs => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// A message of this length whose first `sent` bytes arrive in frames of 3.
fn message(length: u32, sent: usize, hangs: bool) -> Body {
    let mut bytes = vec![0];
    bytes.extend(length.to_be_bytes());
    bytes.resize(PREFIX_BYTES + sent, 7);
    Body::new(Fed { frames: bytes.chunks(3).map(Bytes::copy_from_slice).collect(), hangs })
}

async fn drained(mut body: RequestBody) -> Result<usize, Status> {
    let mut bytes = 0;
    loop {
        match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            Some(frame) => bytes += frame?.data_ref().map_or(0, Bytes::len),
            None => return Ok(bytes),
        }
    }
}

const SHORT: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn a_write_waits_for_its_share_and_loses_no_byte() {
    let budget = Budget::new(100);
    let first = Held::default();
    let read = drained(RequestBody::new(message(80, 80, false), budget.clone(), first.clone())).await;
    assert_eq!(read.unwrap(), 85);
    let held = Held::default();
    let mut second = std::pin::pin!(drained(RequestBody::new(message(30, 30, false), budget.clone(), held.clone())));
    assert!(timeout(SHORT, &mut second).await.is_err(), "20 bytes are left");
    first.lock().take();
    assert_eq!(second.await.unwrap(), 35);
    drop(held);
    assert_eq!(budget.free.available_permits(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_write_larger_than_the_budget_takes_all_of_it() {
    let held = Held::default();
    let body = RequestBody::new(message(500, 500, false), Budget::new(100), held.clone());
    assert_eq!(drained(body).await.unwrap(), 505);
    assert_eq!(held.lock().as_ref().unwrap().num_permits(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_body_without_a_message_passes() {
    let body = Body::new(Fed { frames: [Bytes::from_static(b"abc")].into(), hangs: false });
    assert_eq!(drained(RequestBody::new(body, Budget::new(1), Held::default())).await.unwrap(), 3);
}

/// A client stops in the middle of a write: it may do so for as long as nobody needs the memory.
#[tokio::test(start_paused = true)]
async fn a_stalled_write_gives_way_to_others() {
    let budget = Budget::new(100);
    let held = Held::default();
    let mut stalled = std::pin::pin!(drained(RequestBody::new(message(80, 10, true), budget.clone(), held.clone())));
    assert!(timeout(10 * STALL_MAX, &mut stalled).await.is_err());
    let waiting = tokio::spawn({
        let budget = budget.clone();
        async move { drop(budget.claim(50).await) }
    });
    let error = timeout(3 * STALL_MAX, stalled).await.expect("it is given up").unwrap_err();
    assert_eq!(pfs_proto::status::error_detail(&error).code, ErrorCode::Unavailable);
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_reply_holds_its_share_until_its_last_piece_is_gone() {
    let budget = Budget::new(100);
    let share = ReplyShare::new(budget.claim(60).await);
    let mut body = ReplyBody { inner: message(2, 2, false), share };
    let mut pieces = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        pieces.push(frame.unwrap().into_data().unwrap());
    }
    drop(body);
    assert_eq!(pieces.concat().len(), 7);
    let last = pieces.pop();
    drop(pieces);
    assert_eq!(budget.free.available_permits(), 40);
    drop(last);
    assert_eq!(budget.free.available_permits(), 100);
}
