//! What file servers and the metadata server say to each other.

use super::{out_of_bounds, refuses};
use pfs_proto::convert::{Contradiction, Problem};
use pfs_proto::metadata::{Fences, Heartbeat, HeartbeatAnswer, RegisterFileServer, Registration, VouchFile};
use pfs_proto::transport::AddressError;
use pfs_proto::v1;

fn fences() -> v1::Fences {
    v1::Fences {
        incarnations: vec![1],
        groups: vec![2],
        incarnation_floor: 3,
        live_below_floor: vec![2],
        deleted_files: vec![9],
        drains: vec![v1::DrainedWrite { stamp: super::stamp(), sequence: 4 }],
    }
}

#[test]
fn registrations() {
    let label = Problem::Contradiction(Contradiction::Label);
    refuses::<v1::RegisterFileServerRequest, RegisterFileServer>(
        &v1::RegisterFileServerRequest {
            protocol_version: 1,
            cluster_id: "c-1".into(),
            server_name: "file-0".into(),
            server_id: 1,
            address: "127.0.0.1:7101".into(),
            instance: 1,
            space: Some(v1::SpaceReport::default()),
        },
        &[
            ("protocol_version", Problem::ProtocolVersion { theirs: 2, ours: 1 }, |r| r.protocol_version = 2),
            ("server_id", label.clone(), |r| r.server_id = 0),
            ("server_id", label, |r| r.cluster_id.clear()),
            ("cluster_id", Problem::Text("\n".into()), |r| r.cluster_id = "\n".into()),
            ("server_name", Problem::Text(String::new()), |r| r.server_name.clear()),
            ("address", Problem::Address(AddressError { address: "x".into() }), |r| r.address = "x".into()),
            ("instance", Problem::Missing, |r| r.instance = 0),
            ("space", Problem::Missing, |r| r.space = None),
        ],
    );
    refuses::<v1::RegisterFileServerReply, Registration>(
        &v1::RegisterFileServerReply {
            cluster_id: "c-1".into(),
            server_id: 1,
            boot: 3,
            heartbeat_ms: 1000,
            lease_ms: 10_000,
            fences: Some(fences()),
            fence_version: 1,
        },
        &[
            ("cluster_id", Problem::Text(String::new()), |r| r.cluster_id.clear()),
            ("server_id", Problem::Missing, |r| r.server_id = 0),
            ("boot", Problem::Missing, |r| r.boot = 0),
            ("heartbeat_ms", out_of_bounds(0, 1, u64::MAX), |r| r.heartbeat_ms = 0),
            ("lease_ms", out_of_bounds(0, 1, u64::MAX), |r| r.lease_ms = 0),
            ("fences", Problem::Missing, |r| r.fences = None),
            ("fences.groups[0]", Problem::Missing, |r| r.fences.as_mut().unwrap().groups[0] = 0),
        ],
    );
}

#[test]
fn lists_of_fences() {
    let too_many = || Problem::TooMany { count: 262_145, limit: 262_144 };
    refuses::<v1::Fences, Fences>(
        &fences(),
        &[
            ("incarnations[0]", Problem::Missing, |f| f.incarnations[0] = 0),
            ("groups[0]", Problem::Missing, |f| f.groups[0] = 0),
            ("live_below_floor[0]", Problem::Missing, |f| f.live_below_floor[0] = 0),
            ("deleted_files[0]", Problem::Missing, |f| f.deleted_files[0] = 0),
            ("drains[0].stamp", Problem::Missing, |f| f.drains[0].stamp = None),
            ("incarnations", too_many(), |f| f.incarnations = vec![1; 262_145]),
            ("groups", too_many(), |f| f.groups = vec![1; 262_145]),
            ("live_below_floor", too_many(), |f| f.live_below_floor = vec![1; 262_145]),
            ("deleted_files", too_many(), |f| f.deleted_files = vec![1; 262_145]),
        ],
    );
}

#[test]
fn heartbeats() {
    refuses::<v1::HeartbeatRequest, Heartbeat>(
        &v1::HeartbeatRequest {
            server_id: 1,
            instance: 1,
            space: Some(v1::SpaceReport::default()),
            boot: 3,
            fence_version: 0,
            counters: None,
            busiest: vec![v1::FileTraffic { file_id: 7, ..v1::FileTraffic::default() }],
        },
        &[
            ("server_id", Problem::Missing, |h| h.server_id = 0),
            ("instance", Problem::Missing, |h| h.instance = 0),
            ("space", Problem::Missing, |h| h.space = None),
            ("busiest[0].file_id", Problem::Missing, |h| h.busiest[0].file_id = 0),
            ("busiest", Problem::TooMany { count: 65, limit: 64 }, |h| h.busiest = vec![h.busiest[0]; 65]),
        ],
    );
    refuses::<v1::HeartbeatReply, HeartbeatAnswer>(
        &v1::HeartbeatReply { boot: 3, registered: true, fences: Some(fences()), fence_version: 1 },
        &[("boot", Problem::Missing, |h| h.boot = 0), ("fences", Problem::Missing, |h| h.fences = None)],
    );
}

#[test]
fn vouches() {
    refuses::<v1::VouchFileRequest, VouchFile>(
        &v1::VouchFileRequest { server_id: 1, file_id: 11, slot: 4095 },
        &[
            ("server_id", Problem::Missing, |v| v.server_id = 0),
            ("file_id", Problem::Missing, |v| v.file_id = 0),
            ("slot", out_of_bounds(4096, 0, 4095), |v| v.slot = 4096),
        ],
    );
}
