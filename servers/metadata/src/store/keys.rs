//! The keys, byte by byte. Numbers are big endian, so that the order of keys is the order of numbers.
//!
//! ```text
//! byte 0   bytes 1…                       value                          meaning
//! 0x01     –                              Cluster                        identity of the cluster, format version
//! 0x02     counter:1                      number:8                       first number that was never reserved
//! 0x10     directory:8  name:1..=255      Entry                          what a name in a directory means
//! 0x11     file:8                         Inode                          kind, recipe, time of creation
//! 0x12     file:8                         Attributes                     size, generation, slots, times
//! 0x13     file:8                         (empty)                        orphan: no name, removed at its last close
//! 0x14     file:8                         Truncation                     a set_size that must still reach all objects
//! 0x15     server:4     file:8            (empty)                        objects of a deleted file, still to be removed
//! 0x20     client:8                       Session                        a session that may change things
//! 0x21     client:8     slot:1            OperationRecord                the last change of a slot, with its answer
//! 0x22     client:8                       (empty)                        a dead client, until all servers refuse it
//! 0x23     group:8                        FencedGroup                    a group that is shut out, until no member lives
//! 0x30     server:4                       FileServer                     a registered file server
//! 0x31     name:1..=64                    server:4                       a file server's name
//! ```
//!
//! The root directory is file 1; it has an inode and no entry. Counters: 1 boots, 2 clients, 3 files, 4 groups,
//! 5 opens, 6 file servers.

use super::{Key, KeyRange};
use pfs_core::ids::{ClientId, FileId, GroupId, ServerId};

/// The root directory.
pub const ROOT: FileId = FileId::new(1).expect("1 is not 0");

/// A durable counter. Its numbers are handed out once, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Counter {
    /// Starts of the metadata server.
    Boot = 1,
    /// Clients.
    Client = 2,
    /// Files and directories; starts behind the root.
    File = 3,
    /// Groups.
    Group = 4,
    /// Opens.
    Open = 5,
    /// File servers.
    Server = 6,
}

impl Counter {
    /// The first number that it ever hands out.
    pub fn first(self) -> u64 {
        match self {
            Counter::File => ROOT.get() + 1,
            _ => 1,
        }
    }
}

const CLUSTER: u8 = 0x01;
const COUNTER: u8 = 0x02;
const ENTRY: u8 = 0x10;
const INODE: u8 = 0x11;
const ATTRIBUTES: u8 = 0x12;
const ORPHAN: u8 = 0x13;
const TRUNCATION: u8 = 0x14;
const REMOVAL: u8 = 0x15;
const SESSION: u8 = 0x20;
const OPERATION: u8 = 0x21;
const DEAD: u8 = 0x22;
const FENCED_GROUP: u8 = 0x23;
const SERVER: u8 = 0x30;
const SERVER_NAME: u8 = 0x31;

fn with_u64(kind: u8, number: u64) -> Key {
    let mut key = Vec::with_capacity(9);
    key.push(kind);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn with_u32(kind: u8, number: u32) -> Key {
    let mut key = Vec::with_capacity(13);
    key.push(kind);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The cluster's identity.
pub fn cluster() -> Key {
    vec![CLUSTER]
}

/// A counter.
pub fn counter(counter: Counter) -> Key {
    vec![COUNTER, counter as u8]
}

/// A name in a directory.
pub fn entry(directory: FileId, name: &str) -> Key {
    let mut key = with_u64(ENTRY, directory.get());
    key.extend_from_slice(name.as_bytes());
    key
}

/// All names of a directory.
pub fn entries(directory: FileId) -> KeyRange {
    KeyRange::prefix(&with_u64(ENTRY, directory.get()))
}

/// The name in an entry's key.
pub fn entry_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(9..)?).ok()
}

/// A file's or directory's inode.
pub fn inode(file: FileId) -> Key {
    with_u64(INODE, file.get())
}

/// All inodes.
pub fn inodes() -> KeyRange {
    KeyRange::prefix(&[INODE])
}

/// A file's or directory's attributes.
pub fn attributes(file: FileId) -> Key {
    with_u64(ATTRIBUTES, file.get())
}

/// The mark of a file without a name.
pub fn orphan(file: FileId) -> Key {
    with_u64(ORPHAN, file.get())
}

/// All files without a name.
pub fn orphans() -> KeyRange {
    KeyRange::prefix(&[ORPHAN])
}

/// A file's unfinished truncation.
pub fn truncation(file: FileId) -> Key {
    with_u64(TRUNCATION, file.get())
}

/// All unfinished truncations.
pub fn truncations() -> KeyRange {
    KeyRange::prefix(&[TRUNCATION])
}

/// The objects of a deleted file on one server.
pub fn removal(server: ServerId, file: FileId) -> Key {
    let mut key = with_u32(REMOVAL, server.get());
    key.extend_from_slice(&file.get().to_be_bytes());
    key
}

/// Everything to be removed on one server.
pub fn removals(server: ServerId) -> KeyRange {
    KeyRange::prefix(&with_u32(REMOVAL, server.get()))
}

/// The file of a [`removal`] key.
pub fn removal_file(key: &[u8]) -> Option<FileId> {
    number(key.get(5..)?).and_then(FileId::new)
}

/// A session.
pub fn session(client: ClientId) -> Key {
    with_u64(SESSION, client.get())
}

/// All sessions.
pub fn sessions() -> KeyRange {
    KeyRange::prefix(&[SESSION])
}

/// The last change of one slot of a session.
pub fn operation(client: ClientId, slot: u32) -> Key {
    let mut key = with_u64(OPERATION, client.get());
    key.push(u8::try_from(slot).expect("a session has fewer than 256 slots"));
    key
}

/// A dead client.
pub fn dead(client: ClientId) -> Key {
    with_u64(DEAD, client.get())
}

/// All dead clients.
pub fn all_dead() -> KeyRange {
    KeyRange::prefix(&[DEAD])
}

/// A group that is shut out.
pub fn fenced_group(group: GroupId) -> Key {
    with_u64(FENCED_GROUP, group.get())
}

/// All groups that are shut out.
pub fn fenced_groups() -> KeyRange {
    KeyRange::prefix(&[FENCED_GROUP])
}

/// A file server.
pub fn server(server: ServerId) -> Key {
    with_u32(SERVER, server.get())
}

/// All file servers.
pub fn servers() -> KeyRange {
    KeyRange::prefix(&[SERVER])
}

/// A file server's name.
pub fn server_name(name: &str) -> Key {
    let mut key = vec![SERVER_NAME];
    key.extend_from_slice(name.as_bytes());
    key
}

/// The number behind the first byte of a key with one number.
pub fn key_number(key: &[u8]) -> Option<u64> {
    number(key.get(1..)?)
}

fn number(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        4 => Some(u64::from(u32::from_be_bytes(bytes.try_into().ok()?))),
        8 => Some(u64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: u64) -> FileId {
        FileId::new(number).unwrap()
    }

    /// A format change would lose every name: these bytes are a promise.
    #[test]
    fn keys_are_these_bytes() {
        assert_eq!(entry(file(258), "ab"), [0x10, 0, 0, 0, 0, 0, 0, 1, 2, b'a', b'b']);
        assert_eq!(inode(file(1)), [0x11, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(counter(Counter::Open), [0x02, 5]);
        let server = ServerId::new(7).unwrap();
        assert_eq!(removal(server, file(9)), [0x15, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(operation(ClientId::new(3).unwrap(), 63), [0x21, 0, 0, 0, 0, 0, 0, 0, 3, 63]);
    }

    #[test]
    fn keys_give_their_parts_back() {
        let server_seven = ServerId::new(7).unwrap();
        assert_eq!(entry_name(&entry(file(5), "näme")), Some("näme"));
        assert_eq!(removal_file(&removal(server_seven, file(9))), Some(file(9)));
        assert_eq!(key_number(&inode(file(77))), Some(77));
        assert_eq!(key_number(&server(server_seven)), Some(7));
    }

    #[test]
    fn ranges_hold_their_keys_and_no_others() {
        for (directory, next) in [(1, 2), (255, 256), (u64::MAX - 1, u64::MAX)] {
            let range = entries(file(directory));
            let last = entry(file(directory), &"\u{10ffff}".repeat(60));
            assert!(range.start <= last && last < range.end);
            assert!(entry(file(next), "a") >= range.end);
        }
        assert!(entry(file(u64::MAX), "a") < entries(file(u64::MAX)).end);
        assert!(inode(file(1)) >= entries(file(u64::MAX)).end);
    }
}
