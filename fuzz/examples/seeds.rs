//! Writes the inputs that the targets begin with into the corpus: `cargo run -p pfs-fuzz --example seeds`.

use pfs_core::checksum::Checksum;
use pfs_core::extent::ObjectOffset;
use pfs_fuzz::frames::with_prefix;
use pfs_fuzz::messages::{DETAILS, KINDS};
use pfs_fuzz::store::{Ended, Ending};
use pfs_fuzz::{open_marks, read_reply};
use pfs_proto::data::{ObjectExtent, pieces};
use pfs_proto::v1;
use prost::Message;
use std::fs;
use std::io::Result;
use std::path::Path;

fn main() -> Result<()> {
    for (form, message) in [("", write().encode_to_vec()), ("sections-", write_in_sections().encode_to_vec())] {
        for (cuts, name) in [(0, "whole"), (1, "bytes"), (77, "frames")] {
            for choices in 0..8 {
                let body = if choices & 1 == 0 { message.clone() } else { with_prefix(&message) };
                keep("write_body", &format!("{form}{name}-{choices}"), &[&[cuts, choices], &body[..]].concat())?;
            }
        }
    }
    let irregular = [write().encode_to_vec(), vec![0x28, 1]].concat();
    keep("write_body", "irregular", &[&[9, 0], &irregular[..]].concat())?;
    for (cuts, choices, name) in [(0, 0, "whole"), (1, 0, "bytes"), (77, 0, "frames"), (78, 1, "broken")] {
        keep("small", name, &[&[cuts, choices], &small()[..]].concat())?;
    }
    for (cuts, choices, name) in [(0, 0, "whole"), (1, 2, "bytes"), (77, 2, "frames")] {
        keep("read_reply", name, &[&[cuts, choices], &read_replies()[..]].concat())?;
    }
    let ended = Ended::new(Ending::KilledWhileOpen);
    let (sums, marks) = (ended.file(&ended.sums_path()), ended.file(&ended.marks_path()));
    for (choices, name) in [(0, "shut-down"), (1, "killed"), (2, "killed-while-open")] {
        keep("checksum_file", name, &[&[choices], &sums[..]].concat())?;
        keep("checksum_file", &format!("{name}-cut"), &[&[choices], &sums[..6]].concat())?;
    }
    keep("open_marks", "whole", &[&[0], &marks[..]].concat())?;
    let header = &marks[..open_marks::HEADER_BYTES];
    keep("open_marks", "damaged-header", &[&[0], &header[..9], &[0xff], &header[10..]].concat())?;
    // File 1, slot 3, from region 5 on; and a file that there is not.
    let mut mark = [0; open_marks::MARK_BYTES];
    (mark[0], mark[8], mark[15], mark[16]) = (1, 5, 0x80, 3);
    let other = [9; open_marks::MARK_BYTES];
    keep("open_marks", "of-choices", &[&[3], &mark[..], &other[..], &mark[..20]].concat())?;
    for (kind, message) in messages() {
        let number = KINDS.iter().position(|(name, _)| *name == kind).expect("a kind of message");
        let name = format!("{kind}-{}", message.len());
        keep("messages", &name, &[&[u8::try_from(number).expect("few kinds")], &message[..]].concat())?;
    }
    let detail = v1::ErrorDetail { code: v1::ErrorCode::Stale.into(), message: "why".into() };
    keep("messages", "details", &[&[DETAILS], &detail.encode_to_vec()[..]].concat())
}

fn keep(target: &str, name: &str, input: &[u8]) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("seed-{name}")), input)
}

fn holder(group: bool) -> Option<v1::Holder> {
    use v1::holder::Kind;
    Some(v1::Holder { kind: Some(if group { Kind::Group(5) } else { Kind::Client(7) }) })
}

fn stamp() -> Option<v1::Stamp> {
    Some(v1::Stamp { boot: 3, holder: holder(true), incarnation: 7 })
}

fn pointer() -> Option<v1::SharedPointer> {
    Some(v1::SharedPointer { generation: 2, position: 4096 })
}

fn object() -> Option<v1::ObjectId> {
    Some(v1::ObjectId { file_id: 11, slot: 2 })
}

fn extents() -> Vec<v1::ObjectExtent> {
    vec![v1::ObjectExtent { offset: 4090, length: 10 }, v1::ObjectExtent { offset: 1 << 40, length: 3 }]
}

fn write() -> v1::WriteRequest {
    v1::WriteRequest {
        stamp: stamp(),
        sequence: 9,
        object: object(),
        extents: extents(),
        checksums: [&b"0123456"[..6], b"6789", b"abc"].map(|piece| Checksum::of(piece).0).to_vec(),
        payload: b"0123456789abc"[..].into(),
        sections: Vec::new(),
    }
}

/// The same write in two sections.
fn write_in_sections() -> v1::WriteRequest {
    let v1::WriteRequest { checksums, payload, .. } = write();
    let section = |checksums: &[u32], payload: &[u8]| v1::WriteSection {
        checksums: checksums.to_vec(),
        payload: payload.to_vec().into(),
    };
    let sections = vec![section(&checksums[..1], &payload[..6]), section(&checksums[1..], &payload[6..])];
    v1::WriteRequest { checksums: Vec::new(), payload: Default::default(), sections, ..write() }
}

fn read() -> v1::ReadRequest {
    v1::ReadRequest { stamp: stamp(), sequence: 9, object: object(), extents: extents(), must_exist: true }
}

/// The answer to the read of the target, in two messages.
fn read_replies() -> Vec<u8> {
    let extents = read_reply::EXTENTS.map(|(offset, end)| ObjectExtent::new(ObjectOffset(offset), end - offset));
    let extents: Vec<_> = extents.into_iter().map(|extent| extent.expect("it is valid")).collect();
    let lengths: Vec<_> = pieces(&extents).map(|piece| piece.length).collect();
    let (first, last) = lengths.split_at(2);
    let reply = |lengths: &[usize]| {
        let part = |length: &usize| vec![*length as u8; *length];
        let checksums = lengths.iter().map(|length| Checksum::of(&part(length)).0).collect();
        let payload = lengths.iter().flat_map(part).collect::<Vec<u8>>().into();
        with_prefix(&v1::ReadReply { instance: 4, checksums, payload }.encode_to_vec())
    };
    [reply(first), reply(last)].concat()
}

/// A write, a read, one that is refused, one that is neither.
fn small() -> Vec<u8> {
    use v1::small_request::Operation;
    let without_extents = v1::WriteRequest { extents: Vec::new(), ..write() };
    let operations =
        [Some(Operation::Write(write())), Some(Operation::Read(read())), Some(Operation::Write(without_extents)), None];
    let message = |(id, operation)| with_prefix(&v1::SmallRequest { id, operation }.encode_to_vec());
    (7..).zip(operations).flat_map(message).collect()
}

fn file() -> Option<v1::FileMetadata> {
    let slots = vec![v1::StripeSlot { server_ids: vec![1] }, v1::StripeSlot { server_ids: vec![2] }];
    Some(v1::FileMetadata {
        file_id: 11,
        kind: v1::EntryKind::File.into(),
        recipe: Some(v1::Recipe { stripe_unit: 65_536, slots }),
        size: size(),
        committed_slots: vec![3],
        ..Default::default()
    })
}

fn size() -> Option<v1::FileSize> {
    Some(v1::FileSize { bytes: 100, generation: 1 })
}

fn operation() -> Option<v1::OperationId> {
    Some(v1::OperationId { client_id: 7, slot: 63, sequence: 1 })
}

fn server() -> v1::ServerAddress {
    v1::ServerAddress { server_id: 2, address: "node-2:7100".into(), instance: 1, live: true }
}

fn fences() -> v1::Fences {
    let drain = v1::DrainedWrite { stamp: stamp(), sequence: 4 };
    v1::Fences {
        incarnations: vec![1, 2],
        groups: vec![3],
        incarnation_floor: 9,
        live_below_floor: vec![8],
        deleted_files: vec![5],
        drains: vec![drain],
    }
}

fn messages() -> Vec<(&'static str, Vec<u8>)> {
    use v1::client_message::Kind as Client;
    use v1::server_message::Kind as Server;
    let range = |start, end| v1::FileRange { start, end };
    let pattern = v1::RangePattern { start: 0, length: 10, stride: 20, count: 3 };
    let from_client = |kind| v1::ClientMessage { number: 1, kind: Some(kind) }.encode_to_vec();
    let from_server = |kind| v1::ServerMessage { number: 1, kind: Some(kind) }.encode_to_vec();
    let open = Some(v1::OpenFor { group_members: vec![7, 8], access: 3 });
    let create = v1::CreateFileRequest {
        operation: operation(),
        path: "/a/b".into(),
        exclusive: true,
        layout: Some(v1::LayoutRequest { stripe_unit: 4096, stripe_count: 4, start_server: -1 }),
        open,
    };
    let opened = v1::OpenFileReply {
        file: file(),
        open_id: 1,
        holder: holder(true),
        owner: "node-1:7000".into(),
        servers: vec![server()],
        created: true,
    };
    let acquire = v1::AcquireToken {
        request_id: 1,
        holder: holder(true),
        file_id: 11,
        mode: 2,
        required: vec![pattern],
        desired: Some(range(0, u64::MAX)),
        collective: true,
    };
    let set = v1::AcquireTokenSet {
        request_id: 1,
        file_id: 11,
        mode: 2,
        parts: vec![v1::TokenSetPart { holder: holder(false), required: vec![pattern] }],
    };
    let ack = v1::AckRevoke {
        revoke_id: 2,
        holder: holder(false),
        file_id: 11,
        released: vec![range(0, 10), range(10, 20)],
        size: size(),
        undrained: vec![v1::UndrainedWrite { server_id: 1, boot: 1, sequence: 0 }],
    };
    let reassert = v1::ReassertTokens {
        holder: holder(true),
        group_members: vec![7, 8],
        file_id: 11,
        opens: vec![v1::ReassertedOpen { open_id: 3, access: 1, pointer: pointer() }],
        ranges: vec![v1::ReassertedRange { range: Some(range(0, 5)), mode: 1 }],
        size: size(),
    };
    let grant = v1::GrantToken {
        request_id: 1,
        holder: holder(true),
        file_id: 11,
        mode: 1,
        ranges: vec![range(0, 10), range(20, u64::MAX)],
        sequence: 1,
        boot: 3,
        size: size(),
        committed_slots: vec![3],
        collective: true,
        set_client_id: 0,
    };
    let registration = v1::RegisterFileServerReply {
        cluster_id: "c-1".into(),
        server_id: 2,
        boot: 3,
        heartbeat_ms: 1000,
        lease_ms: 10_000,
        fences: Some(fences()),
        fence_version: 4,
    };
    let page =
        v1::ListDirectoryReply { entries: vec![v1::DirectoryEntry { name: "a".into(), file: file() }], more: true };
    let allocate = v1::AllocateRequest {
        stamp: stamp(),
        sequence: 9,
        object: object(),
        extent: Some(extents()[0]),
        allocation: v1::Allocation::Punch.into(),
    };
    vec![
        ("WriteRequest", write().encode_to_vec()),
        ("WriteRequest", write_in_sections().encode_to_vec()),
        ("ReadRequest", read().encode_to_vec()),
        ("AllocateRequest", allocate.encode_to_vec()),
        ("CreateFileRequest", create.encode_to_vec()),
        ("OpenFileReply", opened.encode_to_vec()),
        ("ListDirectoryReply", page.encode_to_vec()),
        ("RegisterFileServerReply", registration.encode_to_vec()),
        ("ClientMessage", from_client(Client::Acquire(acquire))),
        ("ClientMessage", from_client(Client::AcquireSet(set))),
        ("ClientMessage", from_client(Client::Ack(ack))),
        ("ClientMessage", from_client(Client::Reassert(reassert))),
        ("ServerMessage", from_server(Server::Grant(grant))),
    ]
}
