//! What is known of files: recipes, metadata, opens, slots.

use super::{group_holder, out_of_bounds, refuses, server, size};
use pfs_core::extent::MAX_FILE_BYTES;
use pfs_core::layout::{Recipe, RecipeError, STRIPE_COUNT_MAX};
use pfs_proto::convert::{Contradiction, Problem};
use pfs_proto::metadata::{DirectoryPage, FileMetadata, Opened, ServerAddress, SlotSet};
use pfs_proto::transport::AddressError;
use pfs_proto::v1;

fn recipe() -> v1::Recipe {
    let slot = |id| v1::StripeSlot { server_ids: vec![id] };
    v1::Recipe { stripe_unit: 65_536, slots: vec![slot(1), slot(2)] }
}

fn file() -> v1::FileMetadata {
    v1::FileMetadata {
        file_id: 11,
        kind: v1::EntryKind::File.into(),
        recipe: Some(recipe()),
        size: size(100, 1),
        committed_slots: vec![0b11],
        ..Default::default()
    }
}

fn directory() -> v1::FileMetadata {
    v1::FileMetadata { file_id: 1, kind: v1::EntryKind::Directory.into(), ..Default::default() }
}

#[test]
fn recipes() {
    refuses::<v1::Recipe, Recipe>(
        &recipe(),
        &[
            ("", RecipeError::StripeUnit(0).into(), |r| r.stripe_unit = 0),
            ("", RecipeError::StripeUnit(4097).into(), |r| r.stripe_unit = 4097),
            ("", RecipeError::StripeUnit(1 << 31).into(), |r| r.stripe_unit = 1 << 31),
            ("", RecipeError::StripeCount(0).into(), |r| r.slots.clear()),
            ("", RecipeError::EmptySlot(1).into(), |r| r.slots[1].server_ids.clear()),
            ("slots[1].server_ids[0]", Problem::Missing, |r| r.slots[1].server_ids[0] = 0),
            ("slots[0].server_ids", Problem::TooMany { count: 17, limit: 16 }, |r| r.slots[0].server_ids = vec![1; 17]),
            ("slots", Problem::TooMany { count: STRIPE_COUNT_MAX + 1, limit: STRIPE_COUNT_MAX }, |r| {
                r.slots = vec![v1::StripeSlot { server_ids: vec![1] }; STRIPE_COUNT_MAX + 1];
            }),
        ],
    );
}

#[test]
fn metadata_of_files() {
    refuses::<v1::FileMetadata, FileMetadata>(
        &file(),
        &[
            ("file_id", Problem::Missing, |f| f.file_id = 0),
            ("kind", Problem::UnknownChoice(0), |f| f.kind = 0),
            ("kind", Problem::UnknownChoice(3), |f| f.kind = 3),
            ("recipe", Problem::Contradiction(Contradiction::Recipe), |f| f.recipe = None),
            ("recipe", RecipeError::StripeUnit(1).into(), |f| f.recipe.as_mut().unwrap().stripe_unit = 1),
            ("size", Problem::Missing, |f| f.size = None),
            ("size.bytes", out_of_bounds(1 << 63, 0, MAX_FILE_BYTES), |f| f.size = size(1 << 63, 1)),
            ("committed_slots", Problem::Contradiction(Contradiction::Slot), |f| f.committed_slots = vec![0b111]),
        ],
    );
    refuses::<v1::FileMetadata, FileMetadata>(
        &directory(),
        &[
            ("recipe", Problem::Contradiction(Contradiction::Recipe), |f| f.recipe = Some(recipe())),
            ("committed_slots", Problem::Contradiction(Contradiction::Slot), |f| f.committed_slots = vec![1]),
            ("size.generation", out_of_bounds(0, 1, u64::MAX), |f| f.size = size(0, 0)),
        ],
    );
}

#[test]
fn server_addresses() {
    let refused = |address: &str| Problem::Address(AddressError { address: address.into() });
    refuses::<v1::ServerAddress, ServerAddress>(
        &server(),
        &[
            ("server_id", Problem::Missing, |s| s.server_id = 0),
            ("instance", Problem::Missing, |s| s.instance = 0),
            ("address", refused(""), |s| s.address.clear()),
            ("address", refused("node-2"), |s| s.address = "node-2".into()),
            ("address", refused("node-2:0"), |s| s.address = "node-2:0".into()),
            ("address", refused("no de:1"), |s| s.address = "no de:1".into()),
        ],
    );
}

#[test]
fn opens() {
    refuses::<v1::OpenFileReply, Opened>(
        &v1::OpenFileReply {
            file: Some(file()),
            open_id: 1,
            holder: group_holder(5),
            owner: String::new(),
            servers: vec![server()],
            created: true,
        },
        &[
            ("file", Problem::Missing, |o| o.file = None),
            ("open_id", Problem::Contradiction(Contradiction::Open), |o| o.open_id = 0),
            ("open_id", Problem::Contradiction(Contradiction::Open), |o| o.holder = None),
            ("owner", Problem::Address(AddressError { address: "x".into() }), |o| o.owner = "x".into()),
            ("servers[0].server_id", Problem::Missing, |o| o.servers[0].server_id = 0),
            ("servers", Problem::TooMany { count: 65_537, limit: 65_536 }, |o| o.servers = vec![server(); 65_537]),
        ],
    );
}

#[test]
fn pages_of_directories() {
    let entry = || v1::DirectoryEntry { name: "a".into(), file: Some(file()) };
    refuses::<v1::ListDirectoryReply, DirectoryPage>(
        &v1::ListDirectoryReply { entries: vec![entry(), entry()], more: true },
        &[
            ("entries", Problem::Empty, |p| p.entries.clear()),
            ("entries[1].file", Problem::Missing, |p| p.entries[1].file = None),
            ("entries[0].name", Problem::EntryName(String::new()), |p| p.entries[0].name.clear()),
            ("entries[0].name", Problem::EntryName("a/b".into()), |p| p.entries[0].name = "a/b".into()),
            ("entries[0].name", Problem::EntryName("..".into()), |p| p.entries[0].name = "..".into()),
            ("entries[0].name", Problem::EntryName("a\nb".into()), |p| p.entries[0].name = "a\nb".into()),
            ("entries[0].name", Problem::EntryName("n".repeat(64)), |p| p.entries[0].name = "n".repeat(256)),
        ],
    );
}

#[test]
fn slot_sets() {
    let too_many = SlotSet::from_bytes(vec![1; 513], "slots").unwrap_err();
    assert_eq!(too_many.problem, Problem::TooMany { count: 513, limit: 512 });
    let padded = SlotSet::from_bytes([vec![0b101], vec![0; 1000]].concat(), "slots").unwrap();
    assert_eq!(padded, [2, 0].into_iter().collect());
    assert_eq!(padded.iter().collect::<Vec<_>>(), [0, 2]);
    assert!(padded.contains(2) && !padded.contains(1) && !padded.contains(u32::MAX));
    let mut union = SlotSet::new();
    assert!(union.is_empty());
    union.insert(4095);
    union.extend(&padded);
    assert_eq!(union.iter().collect::<Vec<_>>(), [0, 2, 4095]);
    assert_eq!(union.as_bytes().len(), 512);
}
