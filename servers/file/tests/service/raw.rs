//! Writes as a client of another make may send them, byte by byte.

use crate::harness::{Harness, assert_code, secret, write_request};
use bytes::Bytes;
use http_body::Frame;
use pfs_proto::secret::AuthInterceptor;
use pfs_proto::status::ErrorCode;
use pfs_proto::transport::endpoint;
use pfs_proto::v1;
use prost::Message;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Code, Status};

/// Frames, and then the end, or a client that goes away.
struct Frames {
    frames: VecDeque<Bytes>,
    breaks: bool,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(match self.frames.pop_front() {
            Some(frame) => Some(Ok(Frame::data(frame))),
            None => self.breaks.then(|| Err(Status::cancelled("the client goes away"))),
        })
    }
}

pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// What a call was answered with.
#[derive(Debug)]
pub struct Answer {
    pub bytes: Vec<u8>,
    pub code: Code,
    pub text: String,
}

impl Answer {
    fn ended(bytes: Vec<u8>, status: &Status) -> Self {
        Answer { bytes, code: status.code(), text: status.message().into() }
    }

    /// The messages of a stream.
    pub fn messages<M: Message + Default>(&self) -> Vec<M> {
        let mut rest = &self.bytes[..];
        let mut messages = Vec::new();
        while let Some((prefix, after)) = rest.split_first_chunk::<5>() {
            let length = u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize;
            messages.push(M::decode(&after[..length]).unwrap());
            rest = &after[length..];
        }
        messages
    }
}

/// Sends bytes to a method in frames of a size, and takes what comes back.
pub async fn exchange(harness: &Harness, method: &str, bytes: &[u8], frame_bytes: usize, breaks: bool) -> Answer {
    let mut channel = endpoint(&harness.server.address.to_string()).unwrap().connect().await.unwrap();
    let frames = bytes.chunks(frame_bytes).map(Bytes::copy_from_slice).collect();
    let request = http::Request::post(format!("http://{}/pfs.v1.Data/{method}", harness.server.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", AuthInterceptor::new(&secret()).bearer().to_str().unwrap())
        .body(Body::new(Frames { frames, breaks }))
        .unwrap();
    let lost = |error: tonic::transport::Error| Answer::ended(vec![], &Status::unavailable(error.to_string()));
    if let Err(error) = std::future::poll_fn(|cx| channel.poll_ready(cx)).await {
        return lost(error);
    }
    let response = match channel.call(request).await {
        Ok(response) => response,
        Err(error) => return lost(error),
    };
    if let Some(status) = Status::from_header_map(response.headers()) {
        return Answer::ended(vec![], &status);
    }
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    loop {
        match std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await {
            Some(Ok(frame)) => {
                if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                    return Answer::ended(bytes, &status);
                }
                bytes.extend(frame.into_data().unwrap_or_default());
            }
            Some(Err(status)) => return Answer::ended(bytes, &status),
            None => return Answer::ended(bytes, &Status::unknown("no status")),
        }
    }
}

/// Sends bytes to the path of `Write` in small frames, and tells the gRPC status.
async fn send(harness: &Harness, bytes: &[u8], breaks: bool) -> Code {
    exchange(harness, "Write", bytes, 7, breaks).await.code
}

/// A write whose payload comes first: valid, and of an unusual shape.
pub fn payload_first(request: v1::WriteRequest) -> Vec<u8> {
    let payload = v1::WriteRequest { payload: request.payload.clone(), ..Default::default() };
    let rest = v1::WriteRequest { payload: Bytes::new(), ..request };
    framed(&[payload.encode_to_vec(), rest.encode_to_vec()].concat())
}

#[tokio::test]
async fn any_order_of_fields_is_taken() {
    let harness = Harness::new().await;
    let request = write_request(1, 3, b"hello");
    assert_eq!(send(&harness, &framed(&request.encode_to_vec()), false).await, Code::Ok);
    assert_eq!(harness.read(1, 2, 7).await.unwrap(), b"\0hello\0");

    let upper = v1::WriteRequest { payload: Bytes::from_static(b"HELLO"), ..request };
    assert_eq!(send(&harness, &payload_first(upper), false).await, Code::Ok);
    assert_eq!(harness.read(1, 2, 7).await.unwrap(), b"\0HELLO\0");
}

/// A write that breaks off is no success, holds nothing up, and touches no other bytes.
#[tokio::test]
async fn a_broken_write_is_no_success() {
    let harness = Harness::new().await;
    harness.write(1, 0, &[1; 3000]).await.unwrap();
    let whole = framed(&write_request(1, 1000, &[2; 1000]).encode_to_vec());
    for missing in [1, 900, 1005, whole.len() - 2] {
        let cut = &whole[..whole.len() - missing];
        for breaks in [true, false] {
            assert_ne!(send(&harness, cut, breaks).await, Code::Ok, "{missing} bytes short");
        }
    }
    let bytes = harness.read(1, 0, 3000).await.unwrap();
    assert!(bytes[..1000] == [1; 1000] && bytes[2000..] == [1; 1000]);
    harness.fence(1, &[crate::harness::CLIENT], &[]).await;
    assert_code(harness.write(1, 0, b"x").await, ErrorCode::Stale);
}

#[tokio::test]
async fn nonsense_is_refused() {
    let harness = Harness::new().await;
    for nonsense in [&b""[..], b"\0", &[0; 5], &[0xff; 40], &framed(&[0xff; 100]), &framed(&[0x7a, 0x7f])] {
        assert_ne!(send(&harness, nonsense, false).await, Code::Ok, "{nonsense:?}");
    }
    assert_eq!(harness.metadata.state().vouches, 0);
}
