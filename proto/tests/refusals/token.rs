//! Messages of the token stream.

use super::{client_holder, group_holder, out_of_bounds, range, refuses, size};
use pfs_core::extent::{Extent, INFINITY, MAX_FILE_BYTES};
use pfs_core::ids::{ClientId, FileId, GroupId, Holder, RequestId};
use pfs_core::pattern::PatternError;
use pfs_core::token::message::Refusal;
use pfs_proto::convert::{Contradiction, Problem};
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_proto::token::{ClientFrame, ServerFrame, Subject, subject_of};
use pfs_proto::transport::RANGES_PER_MESSAGE_MAX;
use pfs_proto::v1;
use v1::client_message::Kind as ClientKind;
use v1::server_message::Kind as ServerKind;

const TOO_MANY: Problem = Problem::TooMany { count: RANGES_PER_MESSAGE_MAX + 1, limit: RANGES_PER_MESSAGE_MAX };

fn from_client(kind: ClientKind) -> v1::ClientMessage {
    v1::ClientMessage { number: 1, kind: Some(kind) }
}

fn from_server(kind: ServerKind) -> v1::ServerMessage {
    v1::ServerMessage { number: 1, kind: Some(kind) }
}

fn pattern(start: u64, length: u64, stride: u64, count: u64) -> v1::RangePattern {
    v1::RangePattern { start, length, stride, count }
}

macro_rules! part {
    ($name:ident, $kind:ident, $variant:ident, $message:ty, $part:ty) => {
        fn $name(message: &mut $message) -> &mut $part {
            match &mut message.kind {
                Some($kind::$variant(part)) => part,
                _ => unreachable!("the good message is of this kind"),
            }
        }
    };
}

part!(acquire, ClientKind, Acquire, v1::ClientMessage, v1::AcquireToken);
part!(ack, ClientKind, Ack, v1::ClientMessage, v1::AckRevoke);
part!(set_of, ClientKind, AcquireSet, v1::ClientMessage, v1::AcquireTokenSet);
part!(reassert, ClientKind, Reassert, v1::ClientMessage, v1::ReassertTokens);
part!(release, ClientKind, Release, v1::ClientMessage, v1::ReleaseToken);
part!(grant, ServerKind, Grant, v1::ServerMessage, v1::GrantToken);
part!(revoke, ServerKind, Revoke, v1::ServerMessage, v1::RevokeToken);
part!(refused, ServerKind, Refused, v1::ServerMessage, v1::RequestRefused);

fn good_acquire() -> v1::ClientMessage {
    from_client(ClientKind::Acquire(v1::AcquireToken {
        request_id: 1,
        holder: group_holder(5),
        file_id: 11,
        mode: v1::TokenMode::Exclusive.into(),
        required: vec![pattern(0, 10, 20, 3)],
        desired: Some(range(0, INFINITY)),
        collective: true,
    }))
}

#[test]
fn acquires() {
    refuses::<v1::ClientMessage, ClientFrame>(
        &good_acquire(),
        &[
            ("kind", Problem::Missing, |m| m.kind = None),
            ("acquire.request_id", Problem::Missing, |m| acquire(m).request_id = 0),
            ("acquire.holder", Problem::Missing, |m| acquire(m).holder = None),
            ("acquire.file_id", Problem::Missing, |m| acquire(m).file_id = 0),
            ("acquire.mode", Problem::UnknownChoice(0), |m| acquire(m).mode = 0),
            ("acquire.mode", Problem::UnknownChoice(3), |m| acquire(m).mode = 3),
            ("acquire.mode", Problem::UnknownChoice(-1), |m| acquire(m).mode = -1),
            ("acquire.collective", Problem::Contradiction(Contradiction::Collective), |m| {
                acquire(m).holder = client_holder(7);
            }),
            ("acquire.required", TOO_MANY, |m| {
                acquire(m).required = vec![pattern(0, 1, 1, 1); RANGES_PER_MESSAGE_MAX + 1];
            }),
            ("acquire.required[0]", PatternError::Empty { length: 0, count: 3 }.into(), |m| {
                acquire(m).required[0].length = 0;
            }),
            ("acquire.required[0]", PatternError::Empty { length: 10, count: 0 }.into(), |m| {
                acquire(m).required[0].count = 0;
            }),
            ("acquire.required[0]", PatternError::Overlap { stride: 9, length: 10 }.into(), |m| {
                acquire(m).required[0].stride = 9;
            }),
            ("acquire.required[0]", PatternError::TooFar { start: 0 }.into(), |m| {
                acquire(m).required[0].count = u64::MAX;
            }),
            ("acquire.desired", Problem::Range { start: 4, end: 4 }, |m| acquire(m).desired = Some(range(4, 4))),
        ],
    );
}

#[test]
fn ranges() {
    refuses::<v1::FileRange, Extent>(
        &range(0, MAX_FILE_BYTES),
        &[
            ("", Problem::Range { start: 0, end: 0 }, |r| r.end = 0),
            ("", Problem::Range { start: 9, end: 8 }, |r| *r = range(9, 8)),
            ("", Problem::Range { start: 0, end: 1 << 63 }, |r| r.end = 1 << 63),
            ("", Problem::Range { start: 0, end: u64::MAX - 1 }, |r| r.end = u64::MAX - 1),
            ("", Problem::Range { start: u64::MAX, end: u64::MAX }, |r| *r = range(u64::MAX, u64::MAX)),
        ],
    );
}

#[test]
fn acks_and_releases() {
    let disorder = |before: (u64, u64), after: (u64, u64)| Problem::Disorder {
        before: Extent::new(before.0, before.1).unwrap(),
        after: Extent::new(after.0, after.1).unwrap(),
    };
    refuses::<v1::ClientMessage, ClientFrame>(
        &from_client(ClientKind::Ack(v1::AckRevoke {
            revoke_id: 2,
            holder: client_holder(7),
            file_id: 11,
            released: vec![range(0, 10), range(10, 20)],
            size: size(5, 1),
            undrained: vec![v1::UndrainedWrite { server_id: 1, boot: 1, sequence: 0 }],
        })),
        &[
            ("number", out_of_bounds(0, 1, u64::MAX), |m| m.number = 0),
            ("ack.undrained[0].server_id", Problem::Missing, |m| ack(m).undrained[0].server_id = 0),
            ("ack.undrained[0].boot", Problem::Missing, |m| ack(m).undrained[0].boot = 0),
            ("ack.revoke_id", Problem::Missing, |m| ack(m).revoke_id = 0),
            ("ack.holder", Problem::Missing, |m| ack(m).holder = None),
            ("ack.file_id", Problem::Missing, |m| ack(m).file_id = 0),
            ("ack.released", TOO_MANY, |m| ack(m).released = vec![range(0, 1); RANGES_PER_MESSAGE_MAX + 1]),
            ("ack.released[1]", Problem::Range { start: 10, end: 10 }, |m| ack(m).released[1].end = 10),
            ("ack.released[1]", disorder((0, 10), (9, 20)), |m| ack(m).released[1].start = 9),
            ("ack.released[1]", disorder((10, 20), (0, 10)), |m| ack(m).released.reverse()),
            ("ack.size.generation", out_of_bounds(0, 1, u64::MAX), |m| ack(m).size = size(5, 0)),
            ("ack.size.bytes", out_of_bounds(1 << 63, 0, MAX_FILE_BYTES), |m| ack(m).size = size(1 << 63, 1)),
        ],
    );
    refuses::<v1::ClientMessage, ClientFrame>(
        &from_client(ClientKind::Release(v1::ReleaseToken {
            holder: client_holder(7),
            file_id: 11,
            range: Some(range(0, 1)),
            size: None,
            last_grant_sequence: 0,
        })),
        &[
            ("release.holder", Problem::Missing, |m| release(m).holder = None),
            ("release.file_id", Problem::Missing, |m| release(m).file_id = 0),
            ("release.range", Problem::Missing, |m| release(m).range = None),
            ("release.range", Problem::Range { start: 2, end: 1 }, |m| release(m).range = Some(range(2, 1))),
            ("release.size.generation", out_of_bounds(0, 1, u64::MAX), |m| release(m).size = size(0, 0)),
        ],
    );
}

#[test]
fn small_client_messages() {
    let report = |size| ClientKind::SizeReport(v1::SizeReport { query_id: 0, file_id: 11, size });
    refuses::<v1::ClientMessage, ClientFrame>(
        &from_client(ClientKind::Hello(v1::Hello { client_id: 7, boot: 1, received: 0 })),
        &[
            ("hello.client_id", Problem::Missing, |m| {
                m.kind = Some(ClientKind::Hello(v1::Hello { client_id: 0, boot: 1, received: 0 }));
            }),
            ("hello.boot", Problem::Missing, |m| {
                m.kind = Some(ClientKind::Hello(v1::Hello { client_id: 7, boot: 0, received: 0 }));
            }),
            ("cancel.request_id", Problem::Missing, |m| {
                m.kind = Some(ClientKind::Cancel(v1::CancelAcquire { request_id: 0 }));
            }),
        ],
    );
    refuses::<v1::ClientMessage, ClientFrame>(
        &from_client(report(None)),
        &[
            ("size_report.file_id", Problem::Missing, |m| {
                m.kind = Some(ClientKind::SizeReport(v1::SizeReport { query_id: 1, file_id: 0, size: None }));
            }),
            ("size_report.size.generation", out_of_bounds(0, 1, u64::MAX), |m| {
                m.kind = Some(ClientKind::SizeReport(v1::SizeReport { query_id: 1, file_id: 1, size: size(0, 0) }));
            }),
        ],
    );
}

#[test]
fn grants() {
    refuses::<v1::ServerMessage, ServerFrame>(
        &from_server(ServerKind::Grant(v1::GrantToken {
            request_id: 1,
            holder: group_holder(5),
            file_id: 11,
            mode: v1::TokenMode::Shared.into(),
            ranges: vec![range(0, 10), range(20, INFINITY)],
            sequence: 1,
            boot: 3,
            size: size(100, 1),
            committed_slots: vec![0xff; 512],
            collective: true,
            set_client_id: 0,
        })),
        &[
            ("number", out_of_bounds(0, 1, u64::MAX), |m| m.number = 0),
            ("kind", Problem::Missing, |m| m.kind = None),
            ("grant.request_id", Problem::Missing, |m| grant(m).request_id = 0),
            ("grant.holder", Problem::Missing, |m| grant(m).holder = None),
            ("grant.file_id", Problem::Missing, |m| grant(m).file_id = 0),
            ("grant.mode", Problem::UnknownChoice(0), |m| grant(m).mode = 0),
            ("grant.ranges", Problem::Empty, |m| grant(m).ranges.clear()),
            ("grant.ranges", TOO_MANY, |m| grant(m).ranges = vec![range(0, 1); RANGES_PER_MESSAGE_MAX + 1]),
            ("grant.ranges[0]", Problem::Range { start: 0, end: 0 }, |m| grant(m).ranges[0].end = 0),
            ("grant.sequence", out_of_bounds(0, 1, u64::MAX), |m| grant(m).sequence = 0),
            ("grant.boot", Problem::Missing, |m| grant(m).boot = 0),
            ("grant.size", Problem::Missing, |m| grant(m).size = None),
            ("grant.committed_slots", Problem::TooMany { count: 513, limit: 512 }, |m| {
                grant(m).committed_slots.push(1);
            }),
        ],
    );
}

#[test]
fn revokes() {
    refuses::<v1::ServerMessage, ServerFrame>(
        &from_server(ServerKind::Revoke(v1::RevokeToken {
            revoke_id: 2,
            holder: client_holder(7),
            file_id: 11,
            range: Some(range(10, 20)),
            wanted: Some(range(0, 100)),
            downgrade: false,
            covers_sequence: 0,
        })),
        &[
            ("revoke.revoke_id", Problem::Missing, |m| revoke(m).revoke_id = 0),
            ("revoke.holder", Problem::Missing, |m| revoke(m).holder = None),
            ("revoke.file_id", Problem::Missing, |m| revoke(m).file_id = 0),
            ("revoke.range", Problem::Missing, |m| revoke(m).range = None),
            ("revoke.wanted", Problem::Missing, |m| revoke(m).wanted = None),
            ("revoke.wanted", Problem::Contradiction(Contradiction::Wanted), |m| {
                revoke(m).wanted = Some(range(11, 100));
            }),
        ],
    );
}

#[test]
fn small_server_messages() {
    refuses::<v1::ServerMessage, ServerFrame>(
        &from_server(ServerKind::Refused(v1::RequestRefused {
            request_id: 1,
            error: Some(v1::ErrorDetail::default()),
        })),
        &[
            ("refused.request_id", Problem::Missing, |m| refused(m).request_id = 0),
            ("refused.error", Problem::Missing, |m| refused(m).error = None),
            ("welcome.boot", Problem::Missing, |m| m.kind = Some(ServerKind::Welcome(v1::Welcome::default()))),
            ("member_lost.group_id", Problem::Missing, |m| {
                m.kind = Some(ServerKind::MemberLost(v1::MemberLost { group_id: 0, client_id: 1 }));
            }),
            ("member_lost.client_id", Problem::Missing, |m| {
                m.kind = Some(ServerKind::MemberLost(v1::MemberLost { group_id: 1, client_id: 0 }));
            }),
            ("group_lost.group_id", Problem::Missing, |m| {
                m.kind = Some(ServerKind::GroupLost(v1::GroupLost { group_id: 0 }));
            }),
            ("size_query.file_id", Problem::Missing, |m| {
                m.kind = Some(ServerKind::SizeQuery(v1::SizeQuery { query_id: 1, file_id: 0 }));
            }),
        ],
    );
}

/// A refused message on a shared stream is answered, so what it is about must be found in it.
#[test]
fn the_subject_of_a_refused_message_is_known() {
    let request = |number| RequestId::new(number).map(Subject::Request);
    let mut message = good_acquire();
    acquire(&mut message).file_id = 0;
    assert!(ClientFrame::try_from(message.clone()).is_err());
    assert_eq!(subject_of(&message), request(1));
    acquire(&mut message).request_id = 0;
    assert_eq!(subject_of(&message), None);
    let cancel = from_client(ClientKind::Cancel(v1::CancelAcquire { request_id: 4 }));
    assert_eq!(subject_of(&cancel), request(4));
    let set = v1::AcquireTokenSet { request_id: 5, ..v1::AcquireTokenSet::default() };
    assert_eq!(subject_of(&from_client(ClientKind::AcquireSet(set))), request(5));
    let call = v1::MetadataCall { call_id: 6, method: None, token_request: 0 };
    assert_eq!(subject_of(&from_client(ClientKind::Call(call))), Some(Subject::Call(6)));
    assert_eq!(subject_of(&from_client(ClientKind::Heartbeat(v1::ClientHeartbeat::default()))), None);
    assert_eq!(subject_of(&v1::ClientMessage::default()), None);
}

#[test]
fn sets_and_reassertions() {
    let part = |start| v1::TokenSetPart { holder: client_holder(7), required: vec![pattern(start, 10, 20, 3)] };
    let set =
        |parts| from_client(ClientKind::AcquireSet(v1::AcquireTokenSet { request_id: 1, file_id: 11, mode: 2, parts }));
    refuses::<v1::ClientMessage, ClientFrame>(
        &set(vec![part(0), part(10)]),
        &[
            ("acquire_set.request_id", Problem::Missing, |m| set_of(m).request_id = 0),
            ("acquire_set.mode", Problem::UnknownChoice(0), |m| set_of(m).mode = 0),
            ("acquire_set.parts[1].holder", Problem::Missing, |m| set_of(m).parts[1].holder = None),
            ("acquire_set.parts[0].required", TOO_MANY, |m| {
                set_of(m).parts[0].required = vec![pattern(0, 1, 1, 1); RANGES_PER_MESSAGE_MAX + 1];
            }),
        ],
    );
    let held = |start| v1::ReassertedRange { range: Some(range(start, start + 5)), mode: 1 };
    refuses::<v1::ClientMessage, ClientFrame>(
        &from_client(ClientKind::Reassert(v1::ReassertTokens {
            holder: group_holder(5),
            group_members: vec![7, 8],
            file_id: 11,
            opens: vec![v1::ReassertedOpen { open_id: 3, access: 1, pointer: None }],
            ranges: vec![held(0), held(5)],
            size: size(9, 1),
        })),
        &[
            ("reassert.holder", Problem::Missing, |m| reassert(m).holder = None),
            ("reassert.group_members[1]", Problem::Missing, |m| reassert(m).group_members[1] = 0),
            ("reassert.opens[0].open_id", Problem::Missing, |m| reassert(m).opens[0].open_id = 0),
            ("reassert.opens[0].access", Problem::UnknownChoice(0), |m| reassert(m).opens[0].access = 0),
            ("reassert.ranges[0].mode", Problem::UnknownChoice(9), |m| reassert(m).ranges[0].mode = 9),
            ("reassert.ranges[1].range", Problem::Missing, |m| reassert(m).ranges[1].range = None),
            (
                "reassert.ranges[1]",
                Problem::Disorder { before: Extent::new(0, 5).unwrap(), after: Extent::new(4, 10).unwrap() },
                |m| reassert(m).ranges[1].range = Some(range(4, 10)),
            ),
        ],
    );
}

#[test]
fn a_managers_refusal_has_a_code() {
    let (client, file) = (ClientId::new(7).unwrap(), FileId::new(11).unwrap());
    let holder = Holder::Group(GroupId::new(5).unwrap());
    for (refusal, code) in [
        (Refusal::NoSession(client), ErrorCode::NoSession),
        (Refusal::NotOpen { client, holder, file }, ErrorCode::NotPermitted),
        (Refusal::TooManyRanges { ranges: 9, limit: 8, hull: Extent::ALL }, ErrorCode::TooLarge),
        (Refusal::NotTogether { client, holder }, ErrorCode::NotPermitted),
        (Refusal::SetConflict(holder, holder), ErrorCode::InvalidArgument),
        (Refusal::ReassertConflict { holder, file, range: Extent::ALL }, ErrorCode::Stale),
        (Refusal::Empty, ErrorCode::InvalidArgument),
        (Refusal::Repeated(RequestId::new(1).unwrap()), ErrorCode::InvalidArgument),
        (Refusal::Cancelled, ErrorCode::Unavailable),
        (Refusal::Deleted(file), ErrorCode::Deleted),
    ] {
        let detail = ErrorDetail::from(refusal.clone());
        assert_eq!((detail.code, detail.message), (code, refusal.to_string()));
    }
}
