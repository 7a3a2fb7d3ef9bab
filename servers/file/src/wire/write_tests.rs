//! Requests of unusual shapes, and answers.

use super::*;
use crate::wire::fed_body::fed;
use http_body::Body as _;
use std::future::poll_fn;

/// A write that is not checked for what it asks.
pub(crate) fn request(payload: usize) -> v1::WriteRequest {
    let byte = |i: usize| u8::try_from(i % 251).unwrap();
    v1::WriteRequest {
        sequence: 77,
        extents: vec![v1::ObjectExtent { offset: 1 << 40, length: 5 }; 3],
        payload: (0..payload).map(byte).collect::<Vec<u8>>().into(),
        ..Default::default()
    }
}

/// The request as it is on the wire.
pub(crate) fn framed(request: &v1::WriteRequest) -> Vec<u8> {
    let message = request.encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes
}

pub(crate) fn frames_of(bytes: &[u8], frame_bytes: usize) -> Vec<Bytes> {
    bytes.chunks(frame_bytes).map(Bytes::copy_from_slice).collect()
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
async fn irregular_requests_are_replayed_from_their_first_byte() {
    let mut reordered = vec![0x7a, 2, 1, 2];
    reordered.extend(v1::WriteRequest { payload: Bytes::new(), ..request(1) }.encode_to_vec());
    let mut without_order = vec![0];
    without_order.extend(u32::try_from(reordered.len()).unwrap().to_be_bytes());
    without_order.extend(reordered);
    let both = framed(&v1::WriteRequest { sections: vec![v1::WriteSection::default()], ..request(9) });
    let mut compressed = framed(&request(100));
    compressed[0] = 1;
    let mut huge = framed(&request(100));
    huge[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
    let long_head =
        framed(&v1::WriteRequest { extents: vec![v1::ObjectExtent { offset: 1, length: 1 }; 200_000], ..request(9) });
    let empty = framed(&request(0));
    for bytes in [without_order, both, compressed, huge, long_head, empty, vec![], vec![0, 0], vec![0; 5]] {
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
