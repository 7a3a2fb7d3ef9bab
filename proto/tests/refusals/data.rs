//! Requests to a file server.

use super::{client_holder, out_of_bounds, refuses, stamp};
use pfs_core::extent::{MAX_FILE_BYTES, ObjectOffset};
use pfs_core::ids::Stamp;
use pfs_proto::convert::{Contradiction, Problem};
use pfs_proto::data::{
    Commit, Drain, Fence, OBJECTS_PER_COMMIT_MAX, ObjectExtent, Read, Remove, Stat, Truncate, Write,
};
use pfs_proto::transport::{DATA_REQUEST_BYTES_MAX, EXTENTS_PER_REQUEST_MAX};
use pfs_proto::v1;

const LIMIT: u64 = DATA_REQUEST_BYTES_MAX as u64;

fn object() -> Option<v1::ObjectId> {
    Some(v1::ObjectId { file_id: 11, slot: 0 })
}

fn extent(offset: u64, length: u64) -> v1::ObjectExtent {
    v1::ObjectExtent { offset, length }
}

fn write() -> v1::WriteRequest {
    let extents = vec![extent(0, 3), extent(4096, 2)];
    let checksums = Vec::new();
    let payload = b"abcde"[..].into();
    v1::WriteRequest {
        stamp: stamp(),
        sequence: 1,
        object: object(),
        extents,
        checksums,
        payload,
        sections: Vec::new(),
    }
}

fn section(checksums: usize, payload: &'static [u8]) -> v1::WriteSection {
    v1::WriteSection { checksums: vec![7; checksums], payload: payload.into() }
}

/// Two extents of three pieces in two sections.
fn write_in_sections() -> v1::WriteRequest {
    let extents = vec![extent(4093, 5), extent(10, 2)];
    let sections = vec![section(1, b"abc"), section(2, b"defg")];
    v1::WriteRequest { extents, payload: Default::default(), sections, ..write() }
}

fn read() -> v1::ReadRequest {
    v1::ReadRequest { stamp: stamp(), sequence: 1, object: object(), extents: vec![extent(0, LIMIT)], must_exist: true }
}

#[test]
fn stamps() {
    refuses::<v1::Stamp, Stamp>(
        &stamp().unwrap(),
        &[
            ("boot", Problem::Missing, |s| s.boot = 0),
            ("holder", Problem::Missing, |s| s.holder = None),
            ("holder.kind", Problem::Missing, |s| s.holder = Some(v1::Holder { kind: None })),
            ("holder.client", Problem::Missing, |s| s.holder = client_holder(0)),
            ("holder.group", Problem::Missing, |s| s.holder = super::group_holder(0)),
            ("incarnation", Problem::Missing, |s| s.incarnation = 0),
            ("incarnation", Problem::Contradiction(Contradiction::Stamp), |s| s.holder = client_holder(8)),
        ],
    );
}

#[test]
fn writes() {
    let payload = |payload, extents| Problem::PayloadLength { payload, extents };
    refuses::<v1::WriteRequest, Write>(
        &write(),
        &[
            ("stamp", Problem::Missing, |w| w.stamp = None),
            ("stamp.boot", Problem::Missing, |w| w.stamp.as_mut().unwrap().boot = 0),
            ("object", Problem::Missing, |w| w.object = None),
            ("object.file_id", Problem::Missing, |w| w.object.as_mut().unwrap().file_id = 0),
            ("object.slot", out_of_bounds(4096, 0, 4095), |w| w.object.as_mut().unwrap().slot = 4096),
            ("extents", Problem::Empty, |w| w.extents.clear()),
            ("extents[1]", Problem::Extent { offset: 4096, length: 0 }, |w| w.extents[1].length = 0),
            ("extents[0]", Problem::Extent { offset: u64::MAX, length: 3 }, |w| w.extents[0].offset = u64::MAX),
            ("extents[0]", Problem::Extent { offset: MAX_FILE_BYTES - 2, length: 3 }, |w| {
                w.extents[0].offset = MAX_FILE_BYTES - 2;
            }),
            ("payload", payload(4, 5), |w| w.payload = b"abcd"[..].into()),
            ("payload", payload(6, 5), |w| w.payload = b"abcdef"[..].into()),
            ("payload", payload(0, 5), |w| w.payload.clear()),
        ],
    );
}

#[test]
fn writes_in_sections() {
    let both = Problem::Contradiction(Contradiction::Sections);
    let checksums = |checksums, pieces| Problem::SectionChecksums { checksums, pieces };
    let length = |payload, checksums, pieces| Problem::SectionLength { payload, checksums, pieces };
    refuses::<v1::WriteRequest, Write>(
        &write_in_sections(),
        &[
            ("sections", both.clone(), |w| w.payload = b"x"[..].into()),
            ("sections", both, |w| w.checksums = vec![7; 3]),
            ("sections[0]", checksums(0, 3), |w| w.sections[0].checksums.clear()),
            ("sections[1]", checksums(3, 2), |w| w.sections[1].checksums.push(7)),
            ("sections[0]", length(3, 2, 5), |w| w.sections[0].checksums.push(7)),
            ("sections[1]", length(3, 2, 4), |w| w.sections[1].payload = b"def"[..].into()),
            ("sections[0]", length(0, 1, 3), |w| w.sections[0].payload.clear()),
            ("sections", Problem::SectionsMissing { pieces: 2 }, |w| w.sections.truncate(1)),
            ("sections[2]", checksums(1, 0), |w| w.sections.push(section(1, b"h"))),
            ("extents", Problem::Empty, |w| w.extents.clear()),
        ],
    );
}

#[test]
fn sections_are_one_payload() {
    let write = Write::try_from(write_in_sections()).unwrap();
    assert_eq!((&write.payload[..], write.checksums.len()), (&b"abcdefg"[..], 3));
    let extents = vec![extent(4093, 3)];
    let one = v1::WriteRequest { extents, sections: vec![section(1, b"abc")], ..write_in_sections() };
    assert_eq!(Write::try_from(one).unwrap().payload, b"abc"[..]);
}

#[test]
fn reads() {
    let too_many = Problem::TooMany { count: EXTENTS_PER_REQUEST_MAX + 1, limit: EXTENTS_PER_REQUEST_MAX };
    let too_large = |bytes| Problem::TooLarge { bytes, limit: LIMIT };
    refuses::<v1::ReadRequest, Read>(
        &read(),
        &[
            ("stamp", Problem::Missing, |r| r.stamp = None),
            ("object", Problem::Missing, |r| r.object = None),
            ("extents", Problem::Empty, |r| r.extents.clear()),
            ("extents", too_many, |r| r.extents = vec![extent(0, 1); EXTENTS_PER_REQUEST_MAX + 1]),
            ("extents", too_large(LIMIT + 1), |r| r.extents.push(extent(0, 1))),
            // A sum that does not fit 64 bits is large, not small.
            ("extents", too_large(u64::MAX), |r| r.extents = vec![extent(0, MAX_FILE_BYTES); 3]),
        ],
    );
}

#[test]
fn an_extent_may_end_with_the_largest_file() {
    assert!(ObjectExtent::new(ObjectOffset(MAX_FILE_BYTES - 1), 1).is_some());
    assert!(ObjectExtent::new(ObjectOffset(MAX_FILE_BYTES), 1).is_none());
}

#[test]
fn commits() {
    let too_many = Problem::TooMany { count: OBJECTS_PER_COMMIT_MAX + 1, limit: OBJECTS_PER_COMMIT_MAX };
    refuses::<v1::CommitRequest, Commit>(
        &v1::CommitRequest { stamp: stamp(), objects: vec![object().unwrap(); 2] },
        &[
            ("stamp", Problem::Missing, |c| c.stamp = None),
            ("objects[1].file_id", Problem::Missing, |c| c.objects[1].file_id = 0),
            ("objects", too_many, |c| c.objects = vec![c.objects[0]; OBJECTS_PER_COMMIT_MAX + 1]),
        ],
    );
}

#[test]
fn truncations_and_removals() {
    refuses::<v1::TruncateRequest, Truncate>(
        &v1::TruncateRequest { size_generation: 1, object: object(), object_length: 0 },
        &[
            ("size_generation", out_of_bounds(0, 1, u64::MAX), |t| t.size_generation = 0),
            ("object", Problem::Missing, |t| t.object = None),
            ("object_length", out_of_bounds(1 << 63, 0, MAX_FILE_BYTES), |t| t.object_length = 1 << 63),
        ],
    );
    refuses::<v1::RemoveRequest, Remove>(
        &v1::RemoveRequest { file_ids: vec![1, 2] },
        &[
            ("file_ids", Problem::Empty, |r| r.file_ids.clear()),
            ("file_ids[1]", Problem::Missing, |r| r.file_ids[1] = 0),
            ("file_ids", Problem::TooMany { count: 65, limit: 64 }, |r| r.file_ids = vec![1; 65]),
        ],
    );
}

#[test]
fn stats_fences_and_drains() {
    refuses::<v1::StatRequest, Stat>(
        &v1::StatRequest { stamp: stamp(), object: object() },
        &[("stamp", Problem::Missing, |s| s.stamp = None), ("object", Problem::Missing, |s| s.object = None)],
    );
    refuses::<v1::FenceRequest, Fence>(
        &v1::FenceRequest { boot_floor: 1, incarnations: vec![1, 2], groups: vec![3], objects: Vec::new() },
        &[
            ("boot_floor", Problem::Missing, |f| f.boot_floor = 0),
            ("incarnations[1]", Problem::Missing, |f| f.incarnations[1] = 0),
            ("groups[0]", Problem::Missing, |f| f.groups[0] = 0),
            ("groups", Problem::TooMany { count: 65_537, limit: 65_536 }, |f| f.groups = vec![1; 65_537]),
            ("incarnations", Problem::TooMany { count: 65_537, limit: 65_536 }, |f| f.incarnations = vec![1; 65_537]),
        ],
    );
    refuses::<v1::DrainRequest, Drain>(
        &v1::DrainRequest { stamp: stamp(), sequence: 9 },
        &[("stamp", Problem::Missing, |d| d.stamp = None)],
    );
}
