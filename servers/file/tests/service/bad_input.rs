//! What no client of the project sends: each of it gets a clear status, and leaves no byte that was not asked for.

use crate::fake_metadata::FakeMetadata;
use crate::harness::{
    CLIENT, Harness, any_port, assert_code, client_of, config, extent, read_request, secret, stamp_of, until,
    write_request,
};
use crate::raw::{exchange, framed};
use crate::streams::{Small, checksums};
use pfs_proto::status::{ErrorCode, error_detail};
use pfs_proto::v1;
use pfs_proto::v1::small_reply::Outcome;
use pfs_proto::v1::small_request::Operation;
use prost::Message;
use std::time::Duration;
use tonic::Code;

/// Unknown fields of every kind: a number, eight bytes, four bytes, a text.
const UNKNOWN: [&[u8]; 4] = [
    &[0xf8, 0x07, 0x01],
    &[0xf9, 0x07, 1, 2, 3, 4, 5, 6, 7, 8],
    &[0xfd, 0x07, 1, 2, 3, 4],
    &[0xfa, 0x07, 3, b'a', b'b', b'c'],
];

/// A write without its payload, and the payload's field.
fn halves(request: v1::WriteRequest) -> (Vec<u8>, Vec<u8>) {
    let payload = v1::WriteRequest { payload: request.payload.clone(), ..Default::default() }.encode_to_vec();
    (v1::WriteRequest { payload: Default::default(), ..request }.encode_to_vec(), payload)
}

#[tokio::test]
async fn unknown_and_repeated_fields_are_taken_as_protobuf_says() {
    let harness = Harness::new().await;
    let (head, payload) = halves(write_request(1, 0, b"hello"));
    for (number, unknown) in UNKNOWN.into_iter().enumerate() {
        let offset = 100 * number as u64;
        let (head, payload) = halves(write_request(1, offset, b"hello"));
        for message in [[unknown, &head, &payload].concat(), [&head, &payload, unknown].concat()] {
            let answer = exchange(&harness, "Write", &framed(&message), 11, false).await;
            assert_eq!(answer.code, Code::Ok, "{answer:?}");
            assert_eq!(harness.read(1, offset, 6).await.unwrap(), b"hello\0");
        }
    }
    // The last of two numbers counts, and of two payloads.
    let sequence = v1::WriteRequest { sequence: 700, ..Default::default() }.encode_to_vec();
    let other = halves(write_request(1, 0, b"other")).1;
    let message = framed(&[&sequence[..], &head, &payload, &other].concat());
    assert_eq!(exchange(&harness, "Write", &message, 1000, false).await.code, Code::Ok);
    assert_eq!(harness.read(1, 0, 5).await.unwrap(), b"other");
    // Two lists of extents are one list.
    let answer = exchange(&harness, "Write", &framed(&[&head[..], &head, &payload].concat()), 1000, false).await;
    assert_eq!(answer.code, Code::InvalidArgument, "{answer:?}");
}

#[tokio::test]
async fn wrong_checksums_write_nothing() {
    let harness = Harness::new().await;
    harness.write(1, 0, &[1; 50_000]).await.unwrap();
    let extents = [extent(100, 9000), extent(20_000, 30_000)];
    let payload = vec![2; 39_000];
    let sums = checksums(&extents, &payload);
    let request = |sums: Vec<u32>| v1::WriteRequest {
        extents: extents.to_vec(),
        checksums: sums,
        ..write_request(1, 0, &payload)
    };
    for count in [1, sums.len() - 1, sums.len() + 1] {
        let mut given = sums.clone();
        given.resize(count, 7);
        assert_code(harness.send(request(given)).await, ErrorCode::InvalidArgument);
    }
    assert!(harness.read(1, 0, 50_000).await.unwrap() == [1; 50_000], "nothing is written");
    let mut last_wrong = sums.clone();
    *last_wrong.last_mut().unwrap() ^= 1;
    let text = assert_code(harness.send(request(last_wrong)).await, ErrorCode::Unavailable);
    assert!(text.contains("file-1 slot 2") && text.contains("file-0") && text.contains("848 bytes at 49152"), "{text}");
    let found = harness.read(1, 0, 50_000).await.unwrap();
    assert!(found[49_152..] == [1; 848], "nothing of the wrong piece is written");
    assert!(found[..100] == [1; 100] && found[9100..20_000] == [1; 10_900], "nor anything else");
    harness.send(request(sums)).await.unwrap();
    assert!(harness.read(1, 20_000, 30_000).await.unwrap() == [2; 30_000]);
}

#[tokio::test]
async fn a_streamed_read_asks_with_one_good_message() {
    let harness = Harness::new().await;
    harness.write(1, 0, b"bytes").await.unwrap();
    let good = framed(&read_request(1, &[extent(0, 5)]).encode_to_vec());
    let answer = exchange(&harness, "ReadStream", &good, 3, false).await;
    assert_eq!((answer.code, answer.messages::<v1::ReadReply>().len()), (Code::Ok, 1));
    let huge = [&[0][..], &u32::MAX.to_be_bytes(), &[1, 2, 3]].concat();
    for (bytes, breaks, code) in [
        (&good[..good.len() - 1], false, Code::Unavailable),
        (&good[..4], false, Code::Unavailable),
        (&[], false, Code::InvalidArgument),
        (&[&good[..], &good].concat(), false, Code::InvalidArgument),
        (&huge, false, Code::OutOfRange),
        (&framed(&[0xff; 20]), false, Code::InvalidArgument),
        (&[1, 0, 0, 0, 0], false, Code::InvalidArgument),
    ] {
        let answer = exchange(&harness, "ReadStream", bytes, 1000, breaks).await;
        assert_eq!(answer.code, code, "{answer:?}");
        assert!(answer.bytes.is_empty() && !answer.text.is_empty(), "{answer:?}");
    }
    assert_ne!(exchange(&harness, "ReadStream", &good[..9], 1000, true).await.code, Code::Ok);
}

fn small_write(id: u64, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let operation = Some(Operation::Write(write_request(1, offset, bytes)));
    framed(&v1::SmallRequest { id, operation }.encode_to_vec())
}

/// What came before the nonsense is done and answered.
#[tokio::test]
async fn nonsense_ends_the_stream_of_small_requests_and_no_more() {
    let harness = Harness::new().await;
    harness.write(1, 0, b"x").await.unwrap();
    let huge = [&[0][..], &(2u32 << 20).to_be_bytes(), &[0; 100]].concat();
    let compressed = [1, 0, 0, 0, 1, 0];
    let cut = &small_write(9, 500, b"never")[..20];
    for (number, (nonsense, code)) in (1u64..).zip([
        (&huge[..], Code::OutOfRange),
        (&compressed, Code::InvalidArgument),
        (&framed(&[0xff; 10]), Code::InvalidArgument),
        (cut, Code::Unavailable),
    ]) {
        let bytes =
            [small_write(1, 100 * number, b"first"), small_write(2, 100 * number + 5, b"then"), nonsense.to_vec()];
        for frame_bytes in [3, 1000] {
            let answer = exchange(&harness, "Small", &bytes.concat(), frame_bytes, false).await;
            assert_eq!(answer.code, code, "{answer:?}");
            assert!(!answer.text.is_empty());
            let ids: Vec<u64> = answer.messages::<v1::SmallReply>().iter().map(|reply| reply.id).collect();
            assert_eq!(ids, [1, 2]);
        }
        assert_eq!(harness.read(1, 100 * number, 10).await.unwrap(), b"firstthen\0");
    }
    let whole = exchange(&harness, "Small", &small_write(1, 0, b"end"), 5, false).await;
    assert_eq!(whole.code, Code::Ok, "a stream may end after its last request");
    assert_eq!(harness.read(1, 500, 5).await.unwrap(), [0; 5]);
}

/// Fields of a small request in another order, repeated, and unknown ones.
#[tokio::test]
async fn small_requests_may_have_any_shape_that_protobuf_has() {
    let harness = Harness::new().await;
    harness.write(1, 0, b"x").await.unwrap();
    let id = v1::SmallRequest { id: 5, operation: None }.encode_to_vec();
    let write = |bytes: &[u8]| {
        let operation = Some(Operation::Write(write_request(1, 0, bytes)));
        v1::SmallRequest { id: 0, operation }.encode_to_vec()
    };
    for unknown in UNKNOWN {
        let message = framed(&[unknown, &write(b"hello"), unknown, &id, unknown].concat());
        let answer = exchange(&harness, "Small", &message, 1000, false).await;
        let [reply] = &answer.messages::<v1::SmallReply>()[..] else { panic!("{answer:?}") };
        assert!(reply.id == 5 && matches!(reply.outcome, Some(Outcome::Write(_))), "{reply:?}");
    }
    assert_eq!(harness.read(1, 0, 5).await.unwrap(), b"hello");
}

/// Connections of clients to a port of this machine, as the kernel lists them.
fn connections(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_one = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.ends_with(&format!(":{port:04X}")));
        local && fields.nth(1) == Some(ESTABLISHED)
    };
    table.lines().filter(is_one).count()
}

/// A client that opens reads and looks at none of them holds no more than its part, gets no others into trouble, and is
/// cut in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stops_nobody() {
    const BYTES: u64 = 4 << 20;
    let metadata_server = FakeMetadata::new("cluster-a").serve(any_port(), &secret()).await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path(), "file-0", &metadata_server);
    config.reply_bytes_max = 3 << 20;
    config.client_reply_bytes_max = 1 << 20;
    config.unread_reply_max = Duration::from_secs(5);
    let server = pfs_file_server::start(config).await.unwrap();
    let (stalled, reading) = (client_of(&server, &secret()), client_of(&server, &secret()));
    let mut streams = Vec::new();
    for _ in 0..16 {
        let replies = stalled.clone().read_stream(read_request(1, &[extent(0, BYTES)])).await.unwrap();
        streams.push(replies.into_inner());
    }
    let other = |sequence| v1::ReadRequest {
        stamp: Some(stamp_of(1, CLIENT + 1)),
        sequence,
        ..read_request(1, &[extent(0, BYTES)])
    };
    for round in 0..10 {
        let reply = reading.clone().read(other(2 * round)).await.unwrap().into_inner();
        assert_eq!(reply.payload.len() as u64, BYTES);
        let mut replies = reading.clone().read_stream(other(2 * round + 1)).await.unwrap().into_inner();
        while replies.message().await.unwrap().is_some() {}
    }
    until("who does not read is cut", async || connections(server.address.port()) == 1).await;
    let mut cut = 0;
    for mut stream in streams {
        while let Some(more) = stream.message().await.transpose() {
            if let Err(status) = more {
                assert_eq!(error_detail(&status).code, ErrorCode::Unavailable);
                cut += 1;
                break;
            }
        }
    }
    assert!(cut > 0, "their connection is gone");
    let mut replies = reading.clone().read_stream(other(100)).await.unwrap().into_inner();
    while replies.message().await.unwrap().is_some() {}
    server.stop().await.unwrap();
}

/// The same on the stream of small requests: who sends and takes no answers is held up, and nobody else.
#[tokio::test]
async fn a_client_that_takes_no_small_answers_is_held_up() {
    let harness = Harness::new().await;
    harness.write(1, 0, &[3; 65_536]).await.unwrap();
    let greedy = Small::open(&harness).await;
    let send = async {
        for id in 0.. {
            greedy.send(id, Operation::Read(read_request(1, &[extent(0, 65_536)]))).await;
        }
    };
    let others = async {
        for _ in 0..50 {
            let read = v1::ReadRequest { stamp: Some(stamp_of(1, 8)), ..read_request(1, &[extent(0, 65_536)]) };
            let other = client_of(&harness.server, &secret());
            let reply = other.clone().read(read).await.unwrap().into_inner();
            assert!(reply.payload == vec![3; 65_536]);
        }
    };
    tokio::select! {
        () = send => unreachable!("it is held up"),
        () = others => {}
    }
}
