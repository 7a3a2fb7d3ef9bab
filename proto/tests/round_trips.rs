//! What is sent is what arrives: strict values through their wire bytes and back.

use bytes::Bytes;
use pfs_core::checksum::Checksum;
use pfs_core::extent::{Extent, ExtentSet, MAX_FILE_BYTES, ObjectOffset};
use pfs_core::ids::{
    Boot, ClientId, FileId, GroupId, Holder, Instance, ObjectId, OpenId, RequestId, RevokeId, ServerId, Stamp,
};
use pfs_core::layout::Recipe;
use pfs_core::path::PfsPath;
use pfs_core::pattern::RangePattern;
use pfs_core::pointer::{PointerChange, SharedPointer};
use pfs_core::session::{Heartbeat, HeartbeatAnswer, Hello, Welcome};
use pfs_core::token::message::{
    Ack, Acquire, AcquireSet, FileSize, Grant, Mode, Reassertion, Release, Revoke, SetId, SetPart, Undrained,
};
use pfs_proto::convert::ConvertError;
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_proto::{data, metadata, token, v1};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use std::fmt::Debug;

/// Encodes, decodes and converts back.
fn check<W, C>(value: C) -> Result<(), TestCaseError>
where
    W: Message + Default + From<C>,
    C: TryFrom<W, Error = ConvertError> + Clone + PartialEq + Debug,
{
    let bytes = W::from(value.clone()).encode_to_vec();
    let message = W::decode(&bytes[..]).expect("own encoding");
    prop_assert_eq!(C::try_from(message), Ok(value));
    Ok(())
}

macro_rules! ids {
    ($($name:ident => $type:ident, $range:expr;)*) => {
        $(fn $name() -> impl Strategy<Value = $type> {
            ($range).prop_map(|number| $type::new(number).expect("the range has no 0"))
        })*
    };
}

ids! {
    file_id => FileId, 1..=u64::MAX;
    client_id => ClientId, 1..=u64::MAX;
    group_id => GroupId, 1..=u64::MAX;
    server_id => ServerId, 1..=u32::MAX;
    boot => Boot, 1..=u64::MAX;
    instance => Instance, 1..=u64::MAX;
    open_id => OpenId, 1..=u64::MAX;
    request_id => RequestId, 1..=u64::MAX;
    revoke_id => RevokeId, 1..=u64::MAX;
}

fn holder() -> impl Strategy<Value = Holder> {
    prop_oneof![client_id().prop_map(Holder::Client), group_id().prop_map(Holder::Group)]
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (boot(), client_id(), option::of(group_id())).prop_map(|(boot, incarnation, group)| {
        let holder = group.map_or(Holder::Client(incarnation), Holder::Group);
        Stamp { boot, holder, incarnation }
    })
}

fn extent() -> impl Strategy<Value = Extent> {
    prop_oneof![
        (0..MAX_FILE_BYTES, 1..=MAX_FILE_BYTES).prop_filter_map("empty", |(start, end)| Extent::new(start, end)),
        (0..MAX_FILE_BYTES).prop_map(Extent::from),
        Just(Extent::ALL),
    ]
}

/// Disjoint extents in order.
fn extents() -> impl Strategy<Value = Vec<Extent>> {
    vec(extent(), 1..8).prop_map(|extents| extents.into_iter().collect::<ExtentSet>().extents().collect())
}

fn pattern() -> impl Strategy<Value = RangePattern> {
    prop_oneof![
        (0..1u64 << 40, 1..1u64 << 20, 0..1u64 << 20, 1..1000u64).prop_map(|(start, length, gap, count)| {
            RangePattern::new(start, length, length + gap, count).expect("within bounds")
        }),
        extent().prop_map(RangePattern::from),
    ]
}

fn file_size() -> impl Strategy<Value = FileSize> {
    (1..=u64::MAX, 0..=MAX_FILE_BYTES).prop_map(|(generation, bytes)| FileSize { generation, bytes })
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Shared), Just(Mode::Exclusive)]
}

fn object() -> impl Strategy<Value = ObjectId> {
    (file_id(), 0..4096u32).prop_map(|(file, slot)| ObjectId { file, slot })
}

fn object_extents() -> impl Strategy<Value = Vec<data::ObjectExtent>> {
    let extent = (0..MAX_FILE_BYTES - 5000, 1..5000u64)
        .prop_map(|(offset, length)| data::ObjectExtent::new(ObjectOffset(offset), length).expect("within bounds"));
    vec(extent, 1..20)
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let slots = vec(vec(server_id(), 1..4), 1..20);
    (1..1000u64, slots).prop_map(|(units, slots)| {
        let slots = slots.into_iter().map(|servers| servers.into_iter().collect()).collect();
        Recipe::new(units * 4096, slots).expect("within bounds")
    })
}

fn slots(count: u32) -> impl Strategy<Value = metadata::SlotSet> {
    vec(0..count, 0..10).prop_map(|slots| slots.into_iter().collect())
}

fn path() -> impl Strategy<Value = PfsPath> {
    "(/[a-zäöü0-9._ -]{1,20}){0,5}"
        .prop_filter_map("dots", |text| PfsPath::parse(if text.is_empty() { "/" } else { &text }).ok())
}

fn operation() -> impl Strategy<Value = metadata::OperationId> {
    (client_id(), 0..metadata::SESSION_SLOTS, 1..=u64::MAX).prop_map(|(client, slot, sequence)| metadata::OperationId {
        client,
        slot,
        sequence,
    })
}

fn access() -> impl Strategy<Value = metadata::Access> {
    use metadata::Access::{Read, ReadWrite, Write};
    prop_oneof![Just(Read), Just(Write), Just(ReadWrite)]
}

fn server_address() -> impl Strategy<Value = metadata::ServerAddress> {
    (server_id(), "[a-z]{1,10}:[1-9][0-9]{0,3}", instance(), any::<bool>())
        .prop_map(|(server, address, instance, live)| metadata::ServerAddress { server, address, instance, live })
}

fn file_metadata() -> impl Strategy<Value = metadata::FileMetadata> {
    let kind = option::of(recipe().prop_flat_map(|recipe| {
        let count = recipe.stripe_count();
        (Just(recipe), slots(count))
    }));
    (file_id(), kind, file_size(), any::<[u64; 3]>()).prop_map(
        |(id, file, size, [created_ns, modified_ns, changed_ns])| {
            let (recipe, committed_slots) = file.unzip();
            metadata::FileMetadata {
                id,
                kind: if recipe.is_some() { metadata::EntryKind::File } else { metadata::EntryKind::Directory },
                recipe,
                size,
                created_ns,
                modified_ns,
                changed_ns,
                committed_slots: committed_slots.unwrap_or_default(),
            }
        },
    )
}

fn fences() -> impl Strategy<Value = metadata::Fences> {
    let lists = (vec(client_id(), 0..5), vec(group_id(), 0..5), vec(client_id(), 0..5), vec(file_id(), 0..5));
    (lists, any::<u64>()).prop_map(|((incarnations, groups, live_below_floor, deleted_files), incarnation_floor)| {
        let drain = |client: &ClientId| data::Drain {
            stamp: Stamp { boot: Boot::new(2).unwrap(), holder: Holder::Client(*client), incarnation: *client },
            sequence: incarnation_floor,
        };
        let drains = incarnations.iter().map(drain).collect();
        metadata::Fences { incarnations, groups, incarnation_floor, live_below_floor, deleted_files, drains }
    })
}

fn space() -> impl Strategy<Value = metadata::SpaceReport> {
    any::<[u64; 3]>().prop_map(|[total_bytes, free_bytes, objects]| metadata::SpaceReport {
        total_bytes,
        free_bytes,
        objects,
    })
}

fn label() -> impl Strategy<Value = metadata::Label> {
    ("[0-9a-f-]{1,36}", server_id()).prop_map(|(cluster_id, server)| metadata::Label { cluster_id, server })
}

fn target() -> impl Strategy<Value = metadata::Target> {
    prop_oneof![path().prop_map(metadata::Target::Path), file_id().prop_map(metadata::Target::File)]
}

fn change() -> impl Strategy<Value = metadata::Change> {
    prop_oneof![
        (file_size(), slots(4096)).prop_map(|(size, committed_slots)| metadata::Change::Sync { size, committed_slots }),
        (0..=MAX_FILE_BYTES).prop_map(metadata::Change::SetSize),
        any::<u64>().prop_map(|modified_ns| metadata::Change::SetTimes { modified_ns }),
    ]
}

fn open_for() -> impl Strategy<Value = metadata::OpenFor> {
    (proptest::collection::btree_set(client_id(), 0..8), access())
        .prop_map(|(members, access)| metadata::OpenFor { group_members: members.into_iter().collect(), access })
}

fn layout_request() -> impl Strategy<Value = metadata::LayoutRequest> {
    let unit = option::of((1..262_144u64).prop_map(|units| units * 4096));
    (unit, option::of(1..=4096u32), option::of(0..=i32::MAX.unsigned_abs())).prop_map(
        |(stripe_unit, stripe_count, start_server)| metadata::LayoutRequest { stripe_unit, stripe_count, start_server },
    )
}

fn client_message() -> impl Strategy<Value = token::ClientMessage> {
    use token::ClientMessage as M;
    let acquire =
        (request_id(), holder(), file_id(), mode(), vec(pattern(), 0..5), option::of(extent()), any::<bool>())
            .prop_map(|(request, holder, file, mode, required, desired, collective)| {
                let collective = collective && matches!(holder, Holder::Group(_));
                M::Acquire(Acquire { request, holder, file, mode, required, desired, collective })
            });
    let ack = (revoke_id(), holder(), file_id(), extents(), option::of(file_size())).prop_map(
        |(revoke, holder, file, released, size)| {
            let undrained = released.iter().map(|range| Undrained {
                server: ServerId::new(7).unwrap(),
                boot: Boot::new(3).unwrap(),
                sequence: range.start(),
            });
            let undrained = undrained.collect();
            M::Ack(Ack { revoke, holder, file, released, size, undrained })
        },
    );
    let set = (request_id(), file_id(), mode(), vec((holder(), vec(pattern(), 0..3)), 0..3)).prop_map(
        |(request, file, mode, parts)| {
            let parts = parts.into_iter().map(|(holder, required)| SetPart { holder, required }).collect();
            M::AcquireSet(AcquireSet { request, file, mode, parts })
        },
    );
    let reassert = (holder(), vec(client_id(), 0..4), file_id(), extents(), mode(), option::of(file_size())).prop_map(
        |(holder, members, file, ranges, mode, size)| {
            let opens = members.iter().filter_map(|client| OpenId::new(client.get())).collect::<Vec<_>>();
            let pointer = SharedPointer { generation: 3, position: 1 << 40 };
            let known = token::KnownOpen { access: metadata::Access::ReadWrite, pointer };
            let known = vec![known; opens.len()];
            let ranges = ranges.into_iter().map(|range| (range, mode)).collect();
            let reassertion = Reassertion { holder, members, file, opens, ranges, size };
            M::Reassert(token::ReassertMessage { reassertion, known })
        },
    );
    let call = any::<u64>().prop_map(|call_id| M::Call(v1::MetadataCall { call_id, method: None, token_request: 0 }));
    let release = (holder(), file_id(), extent(), any::<u64>(), option::of(file_size())).prop_map(
        |(holder, file, range, last_grant_sequence, size)| {
            M::Release(Release { holder, file, range, last_grant_sequence }, size)
        },
    );
    let report = (any::<u64>(), file_id(), option::of(file_size()))
        .prop_map(|(query, file, size)| M::SizeReport(token::SizeReport { query, file, size }));
    prop_oneof![
        acquire,
        set,
        ack,
        release,
        report,
        reassert,
        Just(M::ReassertDone),
        call,
        request_id().prop_map(M::Cancel),
    ]
}

fn client_frame() -> impl Strategy<Value = token::ClientFrame> {
    use token::ClientFrame as F;
    let beat =
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(number, received, progress, any)| {
            let cache = any.then(|| v1::CacheCounters { read_hits: progress, ..v1::CacheCounters::default() });
            F::Heartbeat(Heartbeat { number, received, progress }, cache)
        });
    prop_oneof![
        (client_id(), boot(), any::<u64>()).prop_map(|(client, boot, received)| F::Hello(Hello {
            client,
            boot,
            received
        })),
        beat,
        (1..=u64::MAX, client_message()).prop_map(|(number, message)| F::Message { number, message }),
    ]
}

fn server_frame() -> impl Strategy<Value = token::ServerFrame> {
    use token::ServerFrame as F;
    prop_oneof![
        (boot(), any::<u64>()).prop_map(|(boot, received)| F::Welcome(Welcome { boot, received })),
        (any::<u64>(), any::<u64>()).prop_map(|(number, received)| F::Heartbeat(HeartbeatAnswer { number, received })),
        (1..=u64::MAX, server_message()).prop_map(|(number, message)| F::Message { number, message }),
    ]
}

fn server_message() -> impl Strategy<Value = token::ServerMessage> {
    use token::ServerMessage as M;
    let grant = (request_id(), holder(), file_id(), mode(), extents(), 1..=u64::MAX, boot(), any::<bool>()).prop_map(
        |(request, holder, file, mode, ranges, sequence, boot, collective)| Grant {
            request,
            holder,
            file,
            mode,
            ranges,
            sequence,
            boot,
            collective,
            set: collective.then_some(SetId { client: ClientId::new(5).unwrap(), request }),
        },
    );
    let grant = (grant, file_size(), slots(4096))
        .prop_map(|(grant, size, committed_slots)| M::Grant(token::GrantMessage { grant, size, committed_slots }));
    let revoke = (revoke_id(), holder(), file_id(), extent(), extent(), any::<bool>(), any::<u64>()).prop_map(
        |(revoke, holder, file, range, more, downgrade, covers_sequence)| {
            M::Revoke(Revoke { revoke, holder, file, range, wanted: range.hull(more), downgrade, covers_sequence })
        },
    );
    prop_oneof![
        grant,
        Just(M::Reasserted),
        (group_id(), client_id()).prop_map(|(group, member)| M::MemberLost { group, member }),
        group_id().prop_map(M::GroupLost),
        any::<u64>().prop_map(|call_id| M::Reply(Box::new(v1::MetadataReply { call_id, result: None, grant: None }))),
        revoke,
        (request_id(), "[a-z ]{0,40}")
            .prop_map(|(request, text)| M::Refused(request, ErrorDetail::new(ErrorCode::Deleted, text))),
        (any::<u64>(), file_id()).prop_map(|(query, file)| M::SizeQuery(token::SizeQuery { query, file })),
    ]
}

proptest! {
    #[test]
    fn writes_and_reads(stamp in stamp(), sequence: u64, object in object(), extents in object_extents(), must_exist: bool) {
        let bytes = usize::try_from(data::total_bytes(&extents)).unwrap();
        let payload: Bytes = (0..bytes).map(|i| i.to_le_bytes()[0]).collect::<Vec<u8>>().into();
        check::<v1::ReadRequest, _>(data::Read { stamp, sequence, object, extents: extents.clone(), must_exist })?;
        let checksums = data::pieces(&extents).map(|piece| Checksum(piece.block() as u32)).collect();
        check::<v1::WriteRequest, _>(data::Write { stamp, sequence, object, extents, checksums, payload })?;
    }

    #[test]
    fn other_requests_to_file_servers(
        stamp in stamp(),
        object in object(),
        objects in vec(object(), 0..9),
        object_length in 0..=MAX_FILE_BYTES,
        number in 1..=u64::MAX,
        fence in (boot(), vec(client_id(), 0..5), vec(group_id(), 0..5), vec(object(), 0..3)),
    ) {
        check::<v1::CommitRequest, _>(data::Commit { stamp, objects })?;
        check::<v1::TruncateRequest, _>(data::Truncate { size_generation: number, object, object_length })?;
        check::<v1::RemoveRequest, _>(data::Remove { files: vec![object.file] })?;
        check::<v1::StatRequest, _>(data::Stat { stamp, object })?;
        check::<v1::DrainRequest, _>(data::Drain { stamp, sequence: number })?;
        let (boot_floor, incarnations, groups, objects) = fence;
        check::<v1::FenceRequest, _>(data::Fence { boot_floor, incarnations, groups, objects })?;
    }

    #[test]
    fn the_token_stream(client in client_frame(), server in server_frame()) {
        check::<v1::ClientMessage, _>(client)?;
        check::<v1::ServerMessage, _>(server)?;
    }

    #[test]
    fn recipes(recipe in recipe()) {
        let bytes = v1::Recipe::from(&recipe).encode_to_vec();
        prop_assert_eq!(Recipe::try_from(v1::Recipe::decode(&bytes[..]).unwrap()), Ok(recipe));
    }

    #[test]
    fn sessions_and_opens(
        ids in (client_id(), boot(), open_id(), holder()),
        texts in ("[0-9a-f-]{1,36}", "[ -~]{0,255}"),
        times in (1..=u64::MAX, 1..=u64::MAX),
        servers in vec(server_address(), 0..5),
        file in file_metadata(),
        owner in option::of("[a-z]{1,9}:[1-9]"),
        opened: bool,
        created: bool,
    ) {
        let (client, boot, id, holder) = ids;
        let (cluster_id, client_name) = texts;
        let (lease_ms, heartbeat_ms) = times;
        let expected = opened.then(|| cluster_id.clone());
        check::<v1::InitializeRequest, _>(metadata::Initialize { cluster_id: expected, client_name })?;
        let session = metadata::Session { client, boot, cluster_id, lease_ms, heartbeat_ms, servers: servers.clone() };
        check::<v1::InitializeReply, _>(session)?;
        let open = opened.then_some(metadata::OpenHandle { id, holder });
        check::<v1::OpenFileReply, _>(metadata::Opened { file, open, owner, servers, created })?;
    }

    #[test]
    fn changes_of_the_namespace(
        operation in operation(),
        path in path(),
        to in path(),
        layout in layout_request(),
        open in open_for(),
        close in (open_id(), option::of(file_size())),
        update in (target(), change()),
        flag: bool,
    ) {
        let create = metadata::CreateFile {
            operation,
            path: path.clone(),
            exclusive: flag,
            layout,
            open: flag.then(|| open.clone()),
        };
        check::<v1::CreateFileRequest, _>(create)?;
        check::<v1::OpenFileRequest, _>(metadata::OpenFile { operation, path: path.clone(), open })?;
        check::<v1::CloseFileRequest, _>(metadata::CloseFile { operation, open: close.0, size: close.1 })?;
        for change in [PointerChange::Advance(operation.sequence / 2), PointerChange::Set(operation.sequence / 2)] {
            check::<v1::MovePointerRequest, _>(metadata::MovePointer { operation, open: close.0, change })?;
            let before = SharedPointer { generation: operation.sequence / 4, position: 7 };
            let after = SharedPointer { generation: operation.sequence, position: 9 };
            check::<v1::MovePointerReply, _>(metadata::MovedPointer { before, after })?;
        }
        check::<v1::UpdateMetadataRequest, _>(metadata::UpdateMetadata { operation, target: update.0, change: update.1 })?;
        let kind = flag.then_some(metadata::EntryKind::Directory);
        check::<v1::DeleteFileRequest, _>(metadata::DeleteFile { operation, path: path.clone(), kind })?;
        check::<v1::MakeDirectoryRequest, _>(metadata::MakeDirectory { operation, path: path.clone(), parents: flag })?;
        check::<v1::RenameRequest, _>(metadata::Rename { operation, from: path, to })?;
    }

    #[test]
    fn questions_and_lists(
        client in client_id(),
        target in target(),
        path in path(),
        exact_size: bool,
        limit in 1..=metadata::LIST_ENTRIES_MAX,
        entries in vec(("[a-zäöü ]{1,40}", file_metadata()), 1..4),
    ) {
        check::<v1::FetchMetadataRequest, _>(metadata::FetchMetadata { client, target: target.clone(), exact_size })?;
        check::<v1::ListTokensRequest, _>(metadata::ListTokens { target })?;
        let after = exact_size.then(|| entries[0].0.clone());
        check::<v1::ListDirectoryRequest, _>(metadata::ListDirectory { client, path, after, limit })?;
        let entries = entries.into_iter().map(|(name, file)| metadata::DirectoryEntry { name, file }).collect();
        check::<v1::ListDirectoryReply, _>(metadata::DirectoryPage { entries, more: exact_size })?;
    }

    #[test]
    fn registrations(
        label in label(),
        is_new: bool,
        server_name in "[a-z0-9-]{1,40}",
        address in server_address().prop_map(|server| server.address),
        instance in instance(),
        space in space(),
        times in (1..=u64::MAX, 1..=u64::MAX),
        boot in boot(),
        fences in fences(),
        object in object(),
    ) {
        let server = label.server;
        check::<v1::RegisterFileServerRequest, _>(metadata::RegisterFileServer {
            label: (!is_new).then(|| label.clone()),
            server_name,
            address,
            instance,
            space,
        })?;
        let (heartbeat_ms, lease_ms) = times;
        let fence_version = heartbeat_ms;
        let numbers = fence_version;
        let counters = metadata::DataCounters {
            read_bytes: numbers,
            written_bytes: numbers ^ 1,
            reads: numbers ^ 2,
            writes: numbers ^ 3,
            commits: numbers ^ 4,
            failures: numbers ^ 5,
        };
        let file = object.file;
        let busiest = vec![metadata::FileTraffic { file, read_bytes: 1, written_bytes: numbers, requests: lease_ms }];
        let heartbeat = metadata::Heartbeat { server, instance, space, boot, fence_version, counters, busiest };
        check::<v1::HeartbeatRequest, _>(heartbeat)?;
        let answer =
            metadata::HeartbeatAnswer { boot, registered: is_new, fences: fences.clone(), fence_version };
        check::<v1::HeartbeatReply, _>(answer)?;
        check::<v1::VouchFileRequest, _>(metadata::VouchFile { server, object })?;
        let registration = metadata::Registration { label, boot, heartbeat_ms, lease_ms, fences, fence_version };
        check::<v1::RegisterFileServerReply, _>(registration)?;
    }
}
