//! Payloads cut into frames in every way, plain and in sections, and such as are not what was announced.

use super::*;
use crate::wire::fed_body::fed;
use crate::wire::write::tests::{framed, frames_of, request};
use crate::wire::write::{Opened, Opening, open};
use pfs_core::ids::{Boot, ClientId, FileId, Holder, ObjectId, Stamp};
use pfs_proto::data::{Write, wire_checksums};
use tonic::body::Body;

const BUDGET_BYTES: u32 = 1 << 20;

fn budget() -> Budget {
    Budget::new(BUDGET_BYTES)
}

async fn opened(body: Body) -> Opening {
    match open(body).await {
        Opened::Regular(opening) => *opening,
        Opened::Irregular(_) => panic!("this request is regular"),
    }
}

/// The payload of a request that is not checked.
async fn plain(body: Body) -> (v1::WriteRequest, Payload) {
    let Opening { head, left, in_sections, rest } = opened(body).await;
    assert!(!in_sections);
    (head, Payload::plain(left, rest, budget()))
}

async fn bytes_of(mut payload: Payload) -> Result<(Vec<u8>, Vec<Checksum>), ErrorDetail> {
    let (mut bytes, mut checksums) = (Vec::new(), Vec::new());
    let mut batch = Batch::default();
    while payload.next(&mut batch).await? {
        batch.parts.iter().for_each(|part| bytes.extend_from_slice(part));
        checksums.extend_from_slice(&batch.checksums);
    }
    Ok((bytes, checksums))
}

#[tokio::test]
async fn frames_may_be_cut_anywhere() {
    let request = request(500);
    let bytes = framed(&request);
    for frame_bytes in 1..=bytes.len() {
        let (head, payload) = plain(fed(frames_of(&bytes, frame_bytes), false)).await;
        assert_eq!(head, v1::WriteRequest { payload: Bytes::new(), ..request.clone() });
        assert_eq!(payload.left, 500);
        assert_eq!(bytes_of(payload).await.unwrap().0, request.payload);
    }
}

#[tokio::test]
async fn batches_are_bounded() {
    let bytes = framed(&request(2_000_000));
    let (_, mut payload) = plain(fed(frames_of(&bytes, 100_000), false)).await;
    let mut batch = Batch::default();
    while payload.next(&mut batch).await.unwrap() {
        let length: usize = batch.parts.iter().map(Bytes::len).sum();
        let share = payload.share.as_ref().unwrap();
        assert!(length <= share.num_permits(), "a batch of {length} bytes holds a share of {}", share.num_permits());
    }
}

/// A body that breaks off is never taken for a whole one.
#[tokio::test]
async fn a_body_that_ends_early_is_an_error() {
    let bytes = framed(&request(500));
    for missing in [1, 499] {
        let (_, payload) = plain(fed(frames_of(&bytes[..bytes.len() - missing], 100), false)).await;
        assert_eq!(bytes_of(payload).await.unwrap_err().code, ErrorCode::Unavailable);
    }
    let mut longer = bytes.clone();
    longer.push(0);
    for frame_bytes in [1, 100, 10_000] {
        let (_, payload) = plain(fed(frames_of(&longer, frame_bytes), false)).await;
        assert_eq!(bytes_of(payload).await.unwrap_err().code, ErrorCode::InvalidArgument);
    }
}

/// Who waits for its client holds no share.
#[tokio::test]
async fn a_stalled_client_holds_no_memory() {
    let bytes = framed(&request(500));
    let (_, mut payload) = plain(fed(frames_of(&bytes[..300], 100), true)).await;
    let budget = payload.budget.clone();
    let mut batch = Batch::default();
    assert!(payload.next(&mut batch).await.unwrap());
    let mut waiting = std::pin::pin!(payload.next(&mut batch));
    for _ in 0..3 {
        let pending = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
        assert!(pending);
        assert_eq!(budget.free_bytes(), BUDGET_BYTES as usize);
    }
}

/// Six pieces, of 96, 4096, 4096, 96, 1 and 4000 bytes, in sections of so many.
fn in_sections(of: &[usize]) -> v1::WriteRequest {
    let client = ClientId::new(7).unwrap();
    let extent = |offset, length| v1::ObjectExtent { offset, length };
    let whole = v1::WriteRequest {
        stamp: Some(Stamp { boot: Boot::new(1).unwrap(), holder: Holder::Client(client), incarnation: client }.into()),
        object: Some(ObjectId { file: FileId::new(1).unwrap(), slot: 0 }.into()),
        extents: vec![extent(4000, 8384), extent(50, 1), extent(96, 4000)],
        ..request(12_385)
    };
    let Write { extents, payload, .. } = Write::try_from(whole.clone()).unwrap();
    let sums = wire_checksums(&crate::store::checksums_of(&extents, &payload).collect::<Vec<_>>());
    let lengths: Vec<usize> = pfs_proto::data::pieces(&extents).map(|piece| piece.length).collect();
    let (mut payload, mut piece) = (payload, 0);
    let mut section = |pieces: &usize| {
        let range = piece..piece + pieces;
        piece = range.end;
        let payload = payload.split_to(lengths[range.clone()].iter().sum());
        v1::WriteSection { checksums: sums[range].to_vec(), payload }
    };
    v1::WriteRequest { payload: Bytes::new(), sections: of.iter().map(&mut section).collect(), ..whole }
}

async fn sectioned(body: Body) -> Result<(Vec<u8>, Vec<Checksum>), ErrorDetail> {
    let (_, payload) = opened(body).await.expect(budget())?;
    bytes_of(payload).await
}

/// Wherever frames end, bytes come out in order, and each piece's checksum no later than its first byte.
#[tokio::test]
async fn sections_may_be_cut_anywhere() {
    for of in [&[6][..], &[1; 6], &[2, 3, 1]] {
        let request = in_sections(of);
        let write = Write::try_from(request.clone()).unwrap();
        let bytes = framed(&request);
        let some = [1, 2, 3, 5, 7, 100, 4096, 4100, bytes.len()];
        for frame_bytes in some.into_iter().chain((200..13_000).step_by(97)) {
            let (_, mut payload) = opened(fed(frames_of(&bytes, frame_bytes), false)).await.expect(budget()).unwrap();
            let mut arriving = crate::arriving::Arriving::new(write.extents.clone(), Vec::new());
            let (mut batch, mut arrived, mut sums) = (Batch::default(), Vec::new(), Vec::new());
            while payload.next(&mut batch).await.unwrap() {
                arriving.expect(&batch.checksums);
                let whole = arriving.check(&batch.parts).unwrap();
                arrived.extend(arriving.ready(&batch.parts, whole).1.concat());
                arriving.settle(&batch.parts, whole);
                sums.extend_from_slice(&batch.checksums);
            }
            assert!(arrived == write.payload && sums == write.checksums, "{of:?} in frames of {frame_bytes}");
        }
    }
}

#[tokio::test]
async fn what_is_no_section_is_refused() {
    let good = in_sections(&[2, 3, 1]);
    let request = |change: &dyn Fn(&mut Vec<v1::WriteSection>)| {
        let mut request = good.clone();
        change(&mut request.sections);
        framed(&request)
    };
    let with_more = |more: &[u8]| {
        let message = [&framed(&good)[5..], more].concat();
        [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), &message].concat()
    };
    for (why, bytes) in [
        ("a checksum is missing", request(&|sections| sections[1].checksums.truncate(2))),
        ("one too many", request(&|sections| sections[2].checksums.push(7))),
        ("no checksums", request(&|sections| sections[0].checksums.clear())),
        ("a byte is missing", request(&|sections| drop(sections[1].payload.split_off(4000)))),
        ("no bytes", request(&|sections| sections[1].payload.clear())),
        ("a section is missing", request(&|sections| drop(sections.pop()))),
        ("one too many sections", request(&|sections| sections.push(sections[2].clone()))),
        ("another field follows", with_more(&[0x10, 7])),
        ("an unknown field follows", with_more(&[0xf8, 0x07, 1])),
    ] {
        for frame_bytes in [1, 50, 5000, 20_000] {
            let refused = sectioned(fed(frames_of(&bytes, frame_bytes), false)).await.expect_err(why);
            assert_eq!(refused.code, ErrorCode::InvalidArgument, "{why}: {refused:?}");
        }
    }
    let bytes = framed(&good);
    for missing in [1, 3000, 4200, 8200] {
        let refused = sectioned(fed(frames_of(&bytes[..bytes.len() - missing], 300), false)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unavailable, "{missing} bytes short");
    }
}

/// A section that never comes to its payload takes no memory without end.
#[tokio::test]
async fn the_beginnings_of_sections_are_bounded() {
    let mut request = in_sections(&[6]);
    request.sections[0].checksums = vec![7; 100_000];
    for frame_bytes in [10_000, 1 << 20] {
        let refused = sectioned(fed(frames_of(&framed(&request), frame_bytes), false)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooLarge);
    }
}
