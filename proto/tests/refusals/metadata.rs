//! Requests of clients to the metadata server, and the answer to the first one.

use super::{operation, out_of_bounds, refuses, server, size};
use pfs_core::extent::MAX_FILE_BYTES;
use pfs_core::layout::RecipeError;
use pfs_core::path::PathError;
use pfs_proto::convert::Problem;
use pfs_proto::metadata::{
    CloseFile, CreateFile, DeleteFile, FetchMetadata, Initialize, ListDirectory, ListTokens, MakeDirectory,
    MovePointer, MovedPointer, OpenFile, OperationId, Rename, Session, UpdateMetadata,
};
use pfs_proto::v1;
use v1::update_metadata_request::{Change, Target};

fn open_for() -> Option<v1::OpenFor> {
    Some(v1::OpenFor { group_members: vec![7, 8], access: v1::Access::ReadWrite.into() })
}

fn relative(path: &str) -> Problem {
    PathError::NotAbsolute(path.into()).into()
}

#[test]
fn sessions() {
    let text = |text: &str| Problem::Text(text.into());
    refuses::<v1::InitializeRequest, Initialize>(
        &v1::InitializeRequest { protocol_version: 1, cluster_id: "c-1".into(), client_name: "host:1".into() },
        &[
            ("protocol_version", Problem::ProtocolVersion { theirs: 0, ours: 1 }, |i| i.protocol_version = 0),
            ("protocol_version", Problem::ProtocolVersion { theirs: 2, ours: 1 }, |i| i.protocol_version = 2),
            ("cluster_id", text("c\0"), |i| i.cluster_id = "c\0".into()),
            ("client_name", text(&"n".repeat(64)), |i| i.client_name = "n".repeat(256)),
            ("client_name", text("a\u{1b}[2J"), |i| i.client_name = "a\u{1b}[2J".into()),
        ],
    );
    refuses::<v1::InitializeReply, Session>(
        &v1::InitializeReply {
            client_id: 7,
            boot: 3,
            cluster_id: "c-1".into(),
            protocol_version: 1,
            lease_ms: 10_000,
            heartbeat_ms: 1000,
            servers: vec![server()],
        },
        &[
            ("protocol_version", Problem::ProtocolVersion { theirs: 9, ours: 1 }, |s| s.protocol_version = 9),
            ("client_id", Problem::Missing, |s| s.client_id = 0),
            ("boot", Problem::Missing, |s| s.boot = 0),
            ("cluster_id", text(""), |s| s.cluster_id.clear()),
            ("lease_ms", out_of_bounds(0, 1, u64::MAX), |s| s.lease_ms = 0),
            ("heartbeat_ms", out_of_bounds(0, 1, u64::MAX), |s| s.heartbeat_ms = 0),
            ("servers[0].instance", Problem::Missing, |s| s.servers[0].instance = 0),
        ],
    );
}

#[test]
fn operations() {
    refuses::<v1::OperationId, OperationId>(
        &operation().unwrap(),
        &[
            ("client_id", Problem::Missing, |o| o.client_id = 0),
            ("slot", out_of_bounds(64, 0, 63), |o| o.slot = 64),
            ("sequence", out_of_bounds(0, 1, u64::MAX), |o| o.sequence = 0),
        ],
    );
}

#[test]
fn creates() {
    let layout = v1::LayoutRequest { stripe_unit: 4096, stripe_count: 4, start_server: -1 };
    refuses::<v1::CreateFileRequest, CreateFile>(
        &v1::CreateFileRequest {
            operation: operation(),
            path: "/a".into(),
            exclusive: true,
            layout: Some(layout),
            open: open_for(),
        },
        &[
            ("operation", Problem::Missing, |c| c.operation = None),
            ("operation.client_id", Problem::Missing, |c| c.operation.as_mut().unwrap().client_id = 0),
            ("path", relative(""), |c| c.path.clear()),
            ("path", PathError::Dots("/a/../b".into()).into(), |c| c.path = "/a/../b".into()),
            ("path", PathError::TooLong(4097).into(), |c| c.path = "/".repeat(4097)),
            ("layout.stripe_unit", RecipeError::StripeUnit(5000).into(), |c| {
                c.layout.as_mut().unwrap().stripe_unit = 5000;
            }),
            ("layout.stripe_count", out_of_bounds(4097, 0, 4096), |c| c.layout.as_mut().unwrap().stripe_count = 4097),
            ("layout.start_server", Problem::UnknownChoice(-2), |c| c.layout.as_mut().unwrap().start_server = -2),
            ("open.access", Problem::UnknownChoice(0), |c| c.open.as_mut().unwrap().access = 0),
            ("open.access", Problem::UnknownChoice(4), |c| c.open.as_mut().unwrap().access = 4),
            ("open.group_members[1]", Problem::Missing, |c| c.open.as_mut().unwrap().group_members[1] = 0),
            ("open.group_members", Problem::Repeated(7), |c| c.open.as_mut().unwrap().group_members.push(7)),
            ("open.group_members", Problem::TooMany { count: 65_537, limit: 65_536 }, |c| {
                c.open.as_mut().unwrap().group_members = vec![1; 65_537];
            }),
        ],
    );
}

#[test]
fn opens_and_closes() {
    refuses::<v1::OpenFileRequest, OpenFile>(
        &v1::OpenFileRequest { operation: operation(), path: "/a".into(), open: open_for() },
        &[
            ("operation", Problem::Missing, |o| o.operation = None),
            ("path", relative("a"), |o| o.path = "a".into()),
            ("open", Problem::Missing, |o| o.open = None),
        ],
    );
    refuses::<v1::CloseFileRequest, CloseFile>(
        &v1::CloseFileRequest { operation: operation(), open_id: 1, size: size(1, 1) },
        &[
            ("operation", Problem::Missing, |c| c.operation = None),
            ("open_id", Problem::Missing, |c| c.open_id = 0),
            ("size.generation", out_of_bounds(0, 1, u64::MAX), |c| c.size = size(1, 0)),
        ],
    );
}

#[test]
fn shared_pointers() {
    use v1::move_pointer_request::Change;
    const PAST_ALL: u64 = 1 << 63;
    refuses::<v1::MovePointerRequest, MovePointer>(
        &v1::MovePointerRequest { operation: operation(), open_id: 1, change: Some(Change::Advance(5)) },
        &[
            ("operation", Problem::Missing, |m| m.operation = None),
            ("open_id", Problem::Missing, |m| m.open_id = 0),
            ("change", Problem::Missing, |m| m.change = None),
            ("advance", out_of_bounds(PAST_ALL, 0, PAST_ALL - 1), |m| m.change = Some(Change::Advance(PAST_ALL))),
            ("set", out_of_bounds(PAST_ALL, 0, PAST_ALL - 1), |m| m.change = Some(Change::Set(PAST_ALL))),
        ],
    );
    let pointer = v1::SharedPointer { generation: 1, position: 2 };
    refuses::<v1::MovePointerReply, MovedPointer>(
        &v1::MovePointerReply { before: Some(pointer), after: Some(pointer) },
        &[
            ("before", Problem::Missing, |m| m.before = None),
            ("after", Problem::Missing, |m| m.after = None),
            ("after.position", out_of_bounds(PAST_ALL, 0, PAST_ALL - 1), |m| {
                m.after = Some(v1::SharedPointer { generation: 1, position: PAST_ALL });
            }),
        ],
    );
}

#[test]
fn fetches() {
    use v1::fetch_metadata_request::Target;
    refuses::<v1::FetchMetadataRequest, FetchMetadata>(
        &v1::FetchMetadataRequest { client_id: 7, target: Some(Target::FileId(1)), exact_size: true },
        &[
            ("client_id", Problem::Missing, |f| f.client_id = 0),
            ("target", Problem::Missing, |f| f.target = None),
            ("file_id", Problem::Missing, |f| f.target = Some(Target::FileId(0))),
            ("path", relative("x"), |f| f.target = Some(Target::Path("x".into()))),
        ],
    );
}

#[test]
fn updates() {
    let sync = |size, committed_slots| Some(Change::Sync(v1::SyncReport { size, committed_slots }));
    refuses::<v1::UpdateMetadataRequest, UpdateMetadata>(
        &v1::UpdateMetadataRequest {
            operation: operation(),
            target: Some(Target::Path("/a".into())),
            change: sync(size(1, 1), vec![1]),
        },
        &[
            ("operation", Problem::Missing, |u| u.operation = None),
            ("target", Problem::Missing, |u| u.target = None),
            ("file_id", Problem::Missing, |u| u.target = Some(Target::FileId(0))),
            ("path", relative("x"), |u| u.target = Some(Target::Path("x".into()))),
            ("change", Problem::Missing, |u| u.change = None),
            ("set_size_bytes", out_of_bounds(1 << 63, 0, MAX_FILE_BYTES), |u| {
                u.change = Some(Change::SetSizeBytes(1 << 63));
            }),
            ("sync.size", Problem::Missing, |u| u.change = Some(Change::Sync(v1::SyncReport::default()))),
            ("sync.committed_slots", Problem::TooMany { count: 600, limit: 512 }, |u| {
                let report = v1::SyncReport { size: size(1, 1), committed_slots: vec![1; 600] };
                u.change = Some(Change::Sync(report));
            }),
        ],
    );
}

#[test]
fn names() {
    refuses::<v1::DeleteFileRequest, DeleteFile>(
        &v1::DeleteFileRequest { operation: operation(), path: "/a".into(), kind: 0 },
        &[
            ("operation", Problem::Missing, |d| d.operation = None),
            ("path", relative("a"), |d| d.path = "a".into()),
            ("kind", Problem::UnknownChoice(3), |d| d.kind = 3),
        ],
    );
    refuses::<v1::MakeDirectoryRequest, MakeDirectory>(
        &v1::MakeDirectoryRequest { operation: operation(), path: "/a".into(), parents: true },
        &[
            ("operation", Problem::Missing, |m| m.operation = None),
            ("path", PathError::ControlCharacter("/\0".into()).into(), |m| m.path = "/\0".into()),
        ],
    );
    refuses::<v1::RenameRequest, Rename>(
        &v1::RenameRequest { operation: operation(), from: "/a".into(), to: "/b".into() },
        &[
            ("operation", Problem::Missing, |r| r.operation = None),
            ("from", relative("a"), |r| r.from = "a".into()),
            ("to", PathError::NameTooLong(256).into(), |r| r.to = format!("/{}", "n".repeat(256))),
        ],
    );
}

#[test]
fn lists() {
    refuses::<v1::ListDirectoryRequest, ListDirectory>(
        &v1::ListDirectoryRequest { client_id: 7, path: "/".into(), after: "m".into(), limit: 10_000 },
        &[
            ("client_id", Problem::Missing, |l| l.client_id = 0),
            ("path", relative(""), |l| l.path.clear()),
            ("after", Problem::EntryName("a/b".into()), |l| l.after = "a/b".into()),
            ("limit", out_of_bounds(10_001, 0, 10_000), |l| l.limit = 10_001),
        ],
    );
    use v1::list_tokens_request::Target;
    refuses::<v1::ListTokensRequest, ListTokens>(
        &v1::ListTokensRequest { target: Some(Target::Path("/a".into())) },
        &[
            ("target", Problem::Missing, |l| l.target = None),
            ("file_id", Problem::Missing, |l| l.target = Some(Target::FileId(0))),
            ("path", relative("a"), |l| l.target = Some(Target::Path("a".into()))),
        ],
    );
}
