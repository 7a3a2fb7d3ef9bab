//! Who has which files open, and what is known of those files.
//!
//! Invariants:
//! * a file is in the table as long as a handle of it is open;
//! * of a shared file pointer the latest state is known, and none of a handle that was closed;
//! * a known size only grows inside its generation, and the generation only by what the store says;
//! * a file that lost its name is returned for removal exactly once: when its last handle goes.

use pfs_core::ids::{ClientId, FileId, GroupId, Holder, OpenId};
use pfs_core::path::PfsPath;
use pfs_core::pointer::SharedPointer;
use pfs_core::token::message::FileSize;
use pfs_core::token::size::KnownSize;
use pfs_proto::metadata::{Access, SlotSet};
use std::collections::{BTreeMap, BTreeSet};

/// One open of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) holder: Holder,
    pub(crate) file: FileId,
    pub(crate) access: Access,
}

/// What is known of an open file.
#[derive(Clone, Debug)]
struct OpenFile {
    handles: BTreeSet<OpenId>,
    size: KnownSize,
    committed_slots: SlotSet,
    unlinked: bool,
    /// The name by which it was opened last in this start.
    name: Option<PfsPath>,
}

/// All open files.
#[derive(Default)]
pub(crate) struct Handles {
    handles: BTreeMap<OpenId, Handle>,
    /// Shared file pointers that were moved; those of other handles are at their start.
    pointers: BTreeMap<OpenId, SharedPointer>,
    files: BTreeMap<FileId, OpenFile>,
    holders: BTreeMap<Holder, BTreeSet<OpenId>>,
    /// Opens that allow writes, counted.
    writers: BTreeMap<(Holder, FileId), usize>,
    groups: BTreeMap<GroupId, BTreeSet<ClientId>>,
    memberships: BTreeMap<ClientId, BTreeSet<GroupId>>,
}

impl Handles {
    /// The clients of a new group.
    pub(crate) fn add_group(&mut self, group: GroupId, members: &[ClientId]) {
        self.groups.insert(group, members.iter().copied().collect());
        for member in members {
            self.memberships.entry(*member).or_default().insert(group);
        }
    }

    /// A new handle, with what the store knows of the file. One that is open already stays as it is.
    pub(crate) fn open(&mut self, open: OpenId, handle: Handle, size: FileSize, committed_slots: &SlotSet) {
        let handle = *self.handles.entry(open).or_insert(handle);
        if self.holders.entry(handle.holder).or_default().insert(open) && handle.access.writes() {
            *self.writers.entry((handle.holder, handle.file)).or_default() += 1;
        }
        let file = self.files.entry(handle.file).or_insert_with(|| OpenFile {
            handles: BTreeSet::new(),
            size: KnownSize::new(size),
            committed_slots: SlotSet::new(),
            unlinked: false,
            name: None,
        });
        file.handles.insert(open);
        file.size.set(size);
        file.committed_slots.extend(committed_slots);
    }

    /// The name by which a file was opened.
    pub(crate) fn set_name(&mut self, file: FileId, name: PfsPath) {
        if let Some(file) = self.files.get_mut(&file) {
            file.name = Some(name);
        }
    }

    /// The name by which a file was opened last. It may mean another file by now.
    pub(crate) fn name(&self, file: FileId) -> Option<&PfsPath> {
        self.files.get(&file)?.name.as_ref()
    }

    /// A handle.
    pub(crate) fn get(&self, open: OpenId) -> Option<Handle> {
        self.handles.get(&open).copied()
    }

    /// Where the shared file pointer of a handle is.
    pub(crate) fn pointer(&self, open: OpenId) -> SharedPointer {
        self.pointers.get(&open).copied().unwrap_or_default()
    }

    /// A state of a handle's shared file pointer; an earlier one than what is known says nothing.
    pub(crate) fn learn_pointer(&mut self, open: OpenId, pointer: SharedPointer) {
        if self.handles.contains_key(&open) {
            let known = self.pointers.entry(open).or_default();
            *known = pointer.max(*known);
        }
    }

    /// Whether a client may act for a holder.
    pub(crate) fn speaks_for(&self, client: ClientId, holder: Holder) -> bool {
        match holder {
            Holder::Client(owner) => owner == client,
            Holder::Group(group) => self.groups.get(&group).is_some_and(|members| members.contains(&client)),
        }
    }

    /// Files that a holder has open for writing.
    pub(crate) fn written_under(&self, holder: Holder) -> Vec<FileId> {
        const FIRST: FileId = FileId::new(1).expect("1 is not 0");
        let of_holder = self.writers.range((holder, FIRST)..).take_while(|((other, _), _)| *other == holder);
        of_holder.map(|((_, file), _)| *file).collect()
    }

    /// Files that a client has open for writing, alone or with others.
    pub(crate) fn written_by(&self, client: ClientId) -> Vec<FileId> {
        let groups = self.memberships.get(&client).into_iter().flatten().map(|group| Holder::Group(*group));
        let holders = groups.chain([Holder::Client(client)]);
        holders.flat_map(|holder| self.written_under(holder)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether a handle of this holder allows writes to the file.
    pub(crate) fn may_write(&self, holder: Holder, file: FileId) -> bool {
        self.writers.contains_key(&(holder, file))
    }

    /// Ends a handle. Returns the file if it is to be removed now.
    pub(crate) fn close(&mut self, open: OpenId) -> Option<FileId> {
        let handle = self.handles.remove(&open)?;
        self.pointers.remove(&open);
        if handle.access.writes()
            && let Some(count) = self.writers.get_mut(&(handle.holder, handle.file))
        {
            *count -= 1;
            if *count == 0 {
                self.writers.remove(&(handle.holder, handle.file));
            }
        }
        if let Some(opens) = self.holders.get_mut(&handle.holder) {
            opens.remove(&open);
            if opens.is_empty() {
                self.holders.remove(&handle.holder);
                if let Holder::Group(group) = handle.holder {
                    self.forget_group(group);
                }
            }
        }
        let file = self.files.get_mut(&handle.file)?;
        file.handles.remove(&open);
        if !file.handles.is_empty() {
            return None;
        }
        let unlinked = file.unlinked;
        self.files.remove(&handle.file);
        unlinked.then_some(handle.file)
    }

    /// Ends all handles of a client, and of groups that had no other member. Returns the files to be removed now.
    pub(crate) fn remove_client(&mut self, client: ClientId) -> Vec<FileId> {
        let mut holders = vec![Holder::Client(client)];
        for group in self.memberships.remove(&client).unwrap_or_default() {
            let Some(members) = self.groups.get_mut(&group) else { continue };
            members.remove(&client);
            if members.is_empty() {
                holders.push(Holder::Group(group));
            }
        }
        self.close_all(&holders)
    }

    /// Ends all handles of a group. Returns the files to be removed now.
    pub(crate) fn remove_group(&mut self, group: GroupId) -> Vec<FileId> {
        let files = self.close_all(&[Holder::Group(group)]);
        self.forget_group(group);
        files
    }

    fn close_all(&mut self, holders: &[Holder]) -> Vec<FileId> {
        let opens: Vec<OpenId> =
            holders.iter().filter_map(|holder| self.holders.get(holder)).flatten().copied().collect();
        opens.into_iter().filter_map(|open| self.close(open)).collect()
    }

    fn forget_group(&mut self, group: GroupId) {
        for member in self.groups.remove(&group).unwrap_or_default() {
            if let Some(groups) = self.memberships.get_mut(&member) {
                groups.remove(&group);
                if groups.is_empty() {
                    self.memberships.remove(&member);
                }
            }
        }
    }

    /// A file has lost its name. Returns whether it is to be removed now.
    pub(crate) fn unlinked(&mut self, file: FileId) -> bool {
        match self.files.get_mut(&file) {
            Some(file) => {
                file.unlinked = true;
                false
            }
            None => true,
        }
    }

    /// A holder has seen or written up to a size. Of an older or unknown generation it says nothing.
    pub(crate) fn learn(&mut self, file: FileId, size: FileSize) {
        if let Some(file) = self.files.get_mut(&file) {
            file.size.learn(size);
        }
    }

    /// Slots have durable objects.
    pub(crate) fn learn_slots(&mut self, file: FileId, slots: &SlotSet) {
        if let Some(file) = self.files.get_mut(&file) {
            file.committed_slots.extend(slots);
        }
    }

    /// A file was truncated or extended; its size has a new generation.
    pub(crate) fn set_size(&mut self, file: FileId, size: FileSize) {
        if let Some(file) = self.files.get_mut(&file) {
            file.size.set(size);
        }
    }

    /// What is known of an open file.
    pub(crate) fn known(&self, file: FileId) -> Option<(FileSize, &SlotSet)> {
        self.files.get(&file).map(|file| (file.size.get(), &file.committed_slots))
    }

    /// Handles open now.
    pub(crate) fn len(&self) -> usize {
        self.handles.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileId = FileId::new(5).unwrap();

    fn client(number: u64) -> ClientId {
        ClientId::new(number).unwrap()
    }

    fn open(handles: &mut Handles, number: u64, holder: Holder, access: Access) {
        let size = FileSize { generation: 1, bytes: 10 };
        handles.open(OpenId::new(number).unwrap(), Handle { holder, file: FILE, access }, size, &SlotSet::new());
    }

    #[test]
    fn an_unlinked_file_is_removed_once_at_its_last_close() {
        let mut handles = Handles::default();
        open(&mut handles, 1, Holder::Client(client(1)), Access::Read);
        open(&mut handles, 2, Holder::Client(client(2)), Access::Write);
        assert!(!handles.unlinked(FILE));
        assert_eq!(handles.close(OpenId::new(1).unwrap()), None);
        assert_eq!(handles.remove_client(client(2)), [FILE]);
        assert_eq!(handles.len(), 0);
        assert!(handles.unlinked(FILE), "nobody has it open");
    }

    #[test]
    fn a_group_keeps_its_handles_until_its_last_member_goes() {
        let mut handles = Handles::default();
        let group = GroupId::new(7).unwrap();
        handles.add_group(group, &[client(1), client(2)]);
        open(&mut handles, 1, Holder::Group(group), Access::ReadWrite);
        handles.unlinked(FILE);
        assert!(handles.speaks_for(client(2), Holder::Group(group)));
        assert_eq!(handles.remove_client(client(2)), []);
        assert!(!handles.speaks_for(client(2), Holder::Group(group)));
        assert!(handles.may_write(Holder::Group(group), FILE));
        assert_eq!(handles.remove_client(client(1)), [FILE]);
        assert!(handles.groups.is_empty() && handles.memberships.is_empty() && handles.holders.is_empty());
    }

    #[test]
    fn a_holder_may_write_as_long_as_one_of_its_opens_allows_it() {
        let mut handles = Handles::default();
        let group = GroupId::new(7).unwrap();
        handles.add_group(group, &[client(1), client(2)]);
        let (own, together) = (Holder::Client(client(1)), Holder::Group(group));
        open(&mut handles, 1, own, Access::ReadWrite);
        open(&mut handles, 1, own, Access::ReadWrite);
        open(&mut handles, 2, own, Access::Read);
        open(&mut handles, 3, own, Access::Write);
        assert!(handles.may_write(own, FILE) && !handles.may_write(together, FILE));
        open(&mut handles, 4, together, Access::Write);
        assert_eq!((handles.written_by(client(1)), handles.written_by(client(2))), (vec![FILE], vec![FILE]));
        handles.close(OpenId::new(1).unwrap());
        assert!(handles.may_write(own, FILE));
        handles.close(OpenId::new(3).unwrap());
        assert!(!handles.may_write(own, FILE) && handles.written_under(own).is_empty());
        assert_eq!(handles.remove_group(group), []);
        assert!(handles.writers.is_empty());
    }

    #[test]
    fn a_pointer_goes_on_only_and_ends_with_its_handle() {
        let (mut handles, id) = (Handles::default(), OpenId::new(1).unwrap());
        let pointer = |generation, position| SharedPointer { generation, position };
        handles.learn_pointer(id, pointer(1, 1));
        open(&mut handles, 1, Holder::Client(client(1)), Access::Read);
        assert_eq!(handles.pointer(id), SharedPointer::default(), "it was not open");
        handles.learn_pointer(id, pointer(1, 70));
        handles.learn_pointer(id, pointer(0, 90));
        handles.learn_pointer(id, pointer(1, 60));
        assert_eq!(handles.pointer(id), pointer(1, 70));
        handles.close(id);
        assert!(handles.pointers.is_empty());
    }

    #[test]
    fn only_reports_of_the_same_generation_count() {
        let mut handles = Handles::default();
        open(&mut handles, 1, Holder::Client(client(1)), Access::Write);
        let known = |handles: &Handles| handles.known(FILE).unwrap().0;
        handles.learn(FILE, FileSize { generation: 1, bytes: 50 });
        assert_eq!(known(&handles).bytes, 50);
        handles.set_size(FILE, FileSize { generation: 2, bytes: 20 });
        handles.learn(FILE, FileSize { generation: 1, bytes: 99 });
        handles.learn(FILE, FileSize { generation: 9, bytes: 99 });
        assert_eq!(known(&handles), FileSize { generation: 2, bytes: 20 });
    }
}
