//! Requests cut into frames in every way, and requests that are not what they should be.

use super::*;
use crate::wire::fed_body::fed;
use http_body::Body as _;

fn request(payload: usize) -> v1::WriteRequest {
    let byte = |i: usize| u8::try_from(i % 251).unwrap();
    v1::WriteRequest {
        sequence: 77,
        extents: vec![v1::ObjectExtent { offset: 1 << 40, length: 5 }; 3],
        payload: (0..payload).map(byte).collect::<Vec<u8>>().into(),
        ..Default::default()
    }
}

/// The request as it is on the wire.
fn framed(request: &v1::WriteRequest) -> Vec<u8> {
    let message = request.encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes
}

fn frames_of(bytes: &[u8], frame_bytes: usize) -> Vec<Bytes> {
    bytes.chunks(frame_bytes).map(Bytes::copy_from_slice).collect()
}

async fn pieces(mut payload: Payload) -> Result<Vec<u8>, ErrorDetail> {
    let mut bytes = Vec::new();
    let mut batch = Vec::new();
    while payload.next(&mut batch).await? {
        batch.iter().for_each(|piece| bytes.extend_from_slice(piece));
    }
    Ok(bytes)
}

async fn opened(body: Body) -> (v1::WriteRequest, Payload) {
    match open(body).await {
        Opened::Regular { head, payload_bytes, rest } => {
            (head, Payload { left: payload_bytes, rest, budget: Budget::new(1 << 20), share: None })
        }
        Opened::Irregular(_) => panic!("this request is regular"),
    }
}

async fn replayed(body: Body) -> Vec<u8> {
    let Opened::Irregular(mut body) = open(body).await else { panic!("this request is irregular") };
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        bytes.extend(frame.unwrap().into_data().unwrap());
    }
    bytes
}

#[tokio::test]
async fn frames_may_be_cut_anywhere() {
    let request = request(500);
    let bytes = framed(&request);
    for frame_bytes in 1..=bytes.len() {
        let (head, payload) = opened(fed(frames_of(&bytes, frame_bytes), false)).await;
        assert_eq!(head, v1::WriteRequest { payload: Bytes::new(), ..request.clone() });
        assert_eq!(payload.left, 500);
        assert_eq!(pieces(payload).await.unwrap(), request.payload);
    }
}

#[tokio::test]
async fn batches_are_bounded() {
    let bytes = framed(&request(2_000_000));
    let (_, mut payload) = opened(fed(frames_of(&bytes, 100_000), false)).await;
    let mut batch = Vec::new();
    while payload.next(&mut batch).await.unwrap() {
        let length: usize = batch.iter().map(Bytes::len).sum();
        let share = payload.share.as_ref().unwrap();
        assert!(length <= share.num_permits(), "a batch of {length} bytes holds a share of {}", share.num_permits());
    }
}

/// A body that breaks off is never taken for a whole one.
#[tokio::test]
async fn a_body_that_ends_early_is_an_error() {
    let bytes = framed(&request(500));
    for missing in [1, 499] {
        let (_, payload) = opened(fed(frames_of(&bytes[..bytes.len() - missing], 100), false)).await;
        assert_eq!(pieces(payload).await.unwrap_err().code, ErrorCode::Unavailable);
    }
    let mut longer = bytes.clone();
    longer.push(0);
    for frame_bytes in [1, 100, 10_000] {
        let (_, payload) = opened(fed(frames_of(&longer, frame_bytes), false)).await;
        assert_eq!(pieces(payload).await.unwrap_err().code, ErrorCode::InvalidArgument);
    }
}

/// Who waits for its client holds no share.
#[tokio::test]
async fn a_stalled_client_holds_no_memory() {
    let bytes = framed(&request(500));
    let (_, mut payload) = opened(fed(frames_of(&bytes[..300], 100), true)).await;
    let budget = payload.budget.clone();
    let mut batch = Vec::new();
    assert!(payload.next(&mut batch).await.unwrap());
    let mut waiting = std::pin::pin!(payload.next(&mut batch));
    for _ in 0..3 {
        let pending = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
        assert!(pending);
        assert_eq!(budget.free_bytes(), 1 << 20);
    }
}

#[tokio::test]
async fn irregular_requests_are_replayed_from_their_first_byte() {
    let mut reordered = vec![0x7a, 2, 1, 2];
    reordered.extend(v1::WriteRequest { payload: Bytes::new(), ..request(1) }.encode_to_vec());
    let mut without_order = vec![0];
    without_order.extend(u32::try_from(reordered.len()).unwrap().to_be_bytes());
    without_order.extend(reordered);
    let mut compressed = framed(&request(100));
    compressed[0] = 1;
    let mut huge = framed(&request(100));
    huge[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
    let long_head =
        framed(&v1::WriteRequest { extents: vec![v1::ObjectExtent { offset: 1, length: 1 }; 200_000], ..request(9) });
    let empty = framed(&request(0));
    for bytes in [without_order, compressed, huge, long_head, empty, vec![], vec![0, 0], vec![0; 5]] {
        for frame_bytes in [1000, 100_000, bytes.len().max(1)] {
            assert_eq!(replayed(fed(frames_of(&bytes, frame_bytes), false)).await, bytes);
        }
    }
}

#[tokio::test]
async fn a_success_is_a_message_and_a_status() {
    let mut body = told(Ok(300)).into_body();
    let mut frames = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        frames.push(frame.unwrap());
    }
    let [message, trailers] = frames.try_into().unwrap();
    let message = message.into_data().unwrap();
    assert_eq!(v1::WriteReply::decode(&message[PREFIX_BYTES..]).unwrap().instance, 300);
    assert_eq!(trailers.into_trailers().unwrap()["grpc-status"], "0");
    let refused = told(Err(Status::aborted("no")));
    assert_eq!(refused.headers()["grpc-status"], "10");
}
