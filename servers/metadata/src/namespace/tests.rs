//! The namespace against a model that is a map from paths to kinds, and under concurrent changes.

use super::*;
use crate::store::{MemoryStore, RedbStore};
use pfs_core::ids::{ClientId, ServerId};
use pfs_core::layout::Recipe;
use pfs_core::path::PfsPath;
use pfs_core::token::message::FileSize;
use pfs_proto::metadata::{EntryKind, FileMetadata, SlotSet};
use pfs_proto::status::ErrorCode;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

const CLIENT: ClientId = ClientId::new(1).unwrap();
static NEXT_FILE: AtomicU64 = AtomicU64::new(2);

fn file_id() -> FileId {
    FileId::new(NEXT_FILE.fetch_add(1, Ordering::Relaxed)).unwrap()
}

fn path(text: &str) -> PfsPath {
    PfsPath::parse(text).unwrap()
}

fn recipe() -> Recipe {
    let server = |id| [ServerId::new(id).unwrap()].into_iter().collect();
    Recipe::new(4096, vec![server(1), server(2)]).unwrap()
}

fn create_of(path: &PfsPath, exclusive: bool) -> CreateFile {
    CreateFile { path: path.clone(), exclusive, file: file_id(), recipe: Ok(recipe()), now_ns: 5 }
}

fn directory_of(path: &PfsPath, parents: bool) -> MakeDirectory {
    let ids = path.names().map(|_| file_id()).collect();
    MakeDirectory { path: path.clone(), parents, ids, now_ns: 5 }
}

fn operation(slot: u32, sequence: u64) -> Option<OperationId> {
    Some(OperationId { client: CLIENT, slot, sequence })
}

async fn empty() -> Namespace {
    let namespace = Namespace::open(Arc::new(MemoryStore::new()), 1).await.unwrap();
    namespace.run(None, &AddSession { client: CLIENT, name: "test".into() }).await.unwrap();
    namespace
}

async fn create(namespace: &Namespace, text: &str) -> FileMetadata {
    let answer = namespace.run(None, &create_of(&path(text), true)).await.unwrap();
    metadata_of(&answer).unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Create(PfsPath, bool),
    MakeDirectory(PfsPath, bool),
    Remove(PfsPath, Option<EntryKind>),
    Rename(PfsPath, PfsPath),
}

fn any_path() -> impl Strategy<Value = PfsPath> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..4)
        .prop_map(|names| path(&format!("/{}", names.join("/"))))
}

fn any_kind() -> impl Strategy<Value = Option<EntryKind>> {
    prop::sample::select(vec![None, Some(EntryKind::File), Some(EntryKind::Directory)])
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any_path(), any::<bool>()).prop_map(|(path, exclusive)| Step::Create(path, exclusive)),
        (any_path(), any::<bool>()).prop_map(|(path, parents)| Step::MakeDirectory(path, parents)),
        (any_path(), any_kind()).prop_map(|(path, kind)| Step::Remove(path, kind)),
        (any_path(), any_path()).prop_map(|(from, to)| Step::Rename(from, to)),
    ]
}

/// All names with their kinds; the root is not in it.
#[derive(Default)]
struct Model(BTreeMap<PfsPath, EntryKind>);

impl Model {
    fn kind(&self, path: &PfsPath) -> Option<EntryKind> {
        if *path == PfsPath::root() { Some(EntryKind::Directory) } else { self.0.get(path).copied() }
    }

    fn has_children(&self, path: &PfsPath) -> bool {
        self.0.keys().any(|other| other != path && other.starts_with(path))
    }

    /// The error of a walk to the directory of a path, which is the first name that is no directory.
    fn walk(&self, path: &PfsPath) -> Result<(), ErrorCode> {
        let (parent, _) = path.split_last().map_err(|_| ErrorCode::InvalidArgument)?;
        let mut walked = PfsPath::root();
        for name in parent.names() {
            walked = walked.join(name).unwrap();
            match self.kind(&walked) {
                None => return Err(ErrorCode::NotFound),
                Some(EntryKind::File) => return Err(ErrorCode::NotADirectory),
                Some(EntryKind::Directory) => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, step: &Step) -> Result<(), ErrorCode> {
        match step {
            Step::Create(path, exclusive) => self.create(path, *exclusive),
            Step::MakeDirectory(path, parents) => self.make_directory(path, *parents),
            Step::Remove(path, kind) => self.remove(path, *kind),
            Step::Rename(from, to) => self.rename(from, to),
        }
    }

    fn create(&mut self, path: &PfsPath, exclusive: bool) -> Result<(), ErrorCode> {
        self.walk(path)?;
        match self.kind(path) {
            Some(_) if exclusive => Err(ErrorCode::AlreadyExists),
            Some(EntryKind::Directory) => Err(ErrorCode::IsADirectory),
            _ => {
                self.0.insert(path.clone(), EntryKind::File);
                Ok(())
            }
        }
    }

    fn make_directory(&mut self, path: &PfsPath, parents: bool) -> Result<(), ErrorCode> {
        if parents {
            let mut all = vec![path.clone()];
            while let Ok((parent, _)) = all[all.len() - 1].split_last() {
                all.push(parent);
            }
            for parent in all[1..].iter().rev() {
                if self.kind(parent) == Some(EntryKind::File) {
                    return Err(ErrorCode::NotADirectory);
                }
            }
            if self.kind(path) == Some(EntryKind::File) {
                return Err(ErrorCode::AlreadyExists);
            }
            all.pop();
            self.0.extend(all.into_iter().map(|path| (path, EntryKind::Directory)));
            return Ok(());
        }
        if *path == PfsPath::root() {
            return Err(ErrorCode::AlreadyExists);
        }
        self.walk(path)?;
        match self.kind(path) {
            Some(_) => Err(ErrorCode::AlreadyExists),
            None => {
                self.0.insert(path.clone(), EntryKind::Directory);
                Ok(())
            }
        }
    }

    fn remove(&mut self, path: &PfsPath, kind: Option<EntryKind>) -> Result<(), ErrorCode> {
        self.walk(path)?;
        match (self.kind(path).ok_or(ErrorCode::NotFound)?, kind) {
            (EntryKind::Directory, Some(EntryKind::File)) => Err(ErrorCode::IsADirectory),
            (EntryKind::File, Some(EntryKind::Directory)) => Err(ErrorCode::NotADirectory),
            (EntryKind::Directory, _) if self.has_children(path) => Err(ErrorCode::DirectoryNotEmpty),
            _ => {
                self.0.remove(path);
                Ok(())
            }
        }
    }

    fn rename(&mut self, from: &PfsPath, to: &PfsPath) -> Result<(), ErrorCode> {
        self.walk(from)?;
        let kind = self.kind(from).ok_or(ErrorCode::NotFound)?;
        if from == to {
            return Ok(());
        }
        if kind == EntryKind::Directory && to.starts_with(from) {
            return Err(ErrorCode::InvalidArgument);
        }
        self.walk(to)?;
        match (kind, self.kind(to)) {
            (EntryKind::File, Some(EntryKind::Directory)) => return Err(ErrorCode::IsADirectory),
            (EntryKind::Directory, Some(EntryKind::File)) => return Err(ErrorCode::NotADirectory),
            (_, Some(EntryKind::Directory)) if self.has_children(to) => return Err(ErrorCode::DirectoryNotEmpty),
            _ => {}
        }
        let moved: Vec<_> = self.0.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for old in moved {
            let kind = self.0.remove(&old).unwrap();
            let new = path(&format!("{to}{}", &old.as_str()[from.as_str().len()..]));
            self.0.insert(new, kind);
        }
        Ok(())
    }
}

async fn apply(namespace: &Namespace, step: &Step) -> Result<(), ErrorCode> {
    let done = match step.clone() {
        Step::Create(path, exclusive) => namespace.run(None, &create_of(&path, exclusive)).await.map(drop),
        Step::MakeDirectory(path, parents) => namespace.run(None, &directory_of(&path, parents)).await.map(drop),
        Step::Remove(path, kind) => namespace.run(None, &Remove { path, kind, now_ns: 6 }).await.map(drop),
        Step::Rename(from, to) => namespace.run(None, &Rename { from, to, now_ns: 7 }).await.map(drop),
    };
    done.map_err(|error| error.code())
}

/// All names, found by listing in pages of two.
async fn all_names(namespace: &Namespace) -> BTreeMap<PfsPath, EntryKind> {
    let (mut found, mut directories) = (BTreeMap::new(), vec![PfsPath::root()]);
    while let Some(directory) = directories.pop() {
        let mut after: Option<String> = None;
        loop {
            let page = namespace.list(&directory, after.as_deref(), 2).await.unwrap();
            for (name, file) in &page.names {
                let path = directory.join(name).unwrap();
                let metadata = namespace.stat(&path).await.unwrap();
                assert_eq!(metadata.id, *file);
                if metadata.kind == EntryKind::Directory {
                    directories.push(path.clone());
                }
                assert!(found.insert(path, metadata.kind).is_none(), "a name was listed twice");
            }
            after = page.names.last().map(|(name, _)| name.clone());
            if !page.more {
                break;
            }
        }
    }
    found
}

/// Every inode has one name or is an orphan, and the counts are right.
async fn check_structure(namespace: &Namespace) {
    let mut named: BTreeSet<FileId> = namespace.orphans().await.unwrap().into_iter().collect();
    for name in all_names(namespace).await.keys() {
        let file = namespace.stat(name).await.unwrap().id;
        assert!(named.insert(file), "{file} has two names, or a name and an orphan's mark");
    }
    named.insert(keys::ROOT);
    let (mut inodes, mut kinds) = (BTreeSet::new(), BTreeMap::<Kind, u64>::new());
    for_each(&**namespace.store(), keys::inodes(), |key, value| {
        inodes.insert(keys::key_number(&key).and_then(FileId::new).unwrap());
        *kinds.entry(records::decode::<Inode>(&key, &value)?.kind()).or_default() += 1;
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(inodes, named);
    let count = |kind| kinds.get(&kind).copied().unwrap_or(0);
    assert_eq!(namespace.counts(), (count(Kind::File), count(Kind::Directory)));
}

proptest! {
    /// Any sequence of changes has the same results and leaves the same names as the model.
    #[test]
    fn the_namespace_is_a_map_of_paths(steps in prop::collection::vec(any_step(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (namespace, mut model) = (empty().await, Model::default());
            for step in &steps {
                let (got, expected) = (apply(&namespace, step).await, model.apply(step));
                assert_eq!(got, expected, "{step:?}");
            }
            assert_eq!(all_names(&namespace).await, model.0);
            check_structure(&namespace).await;
        });
    }
}

/// Many tasks rename, make and remove the same few names at once. Whatever order they come in, no inode is lost, none
/// has two names, and no directory ends up below itself (it would not be found by listing).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_changes_keep_the_tree_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(RedbStore::open(&directory.path().join("store")).unwrap());
    let namespace = Arc::new(Namespace::open(store, 1).await.unwrap());
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let steps = prop::collection::vec(any_step(), 40).new_tree(&mut runner).unwrap().current();
        let namespace = namespace.clone();
        tasks.push(tokio::spawn(async move {
            for step in steps {
                let _ = apply(&namespace, &step).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    check_structure(&namespace).await;
}

#[tokio::test]
async fn an_operation_is_done_once_and_answered_twice() {
    let namespace = empty().await;
    let first = namespace.run(operation(3, 1), &create_of(&path("/a"), true)).await.unwrap();
    let again = namespace.run(operation(3, 1), &create_of(&path("/a"), true)).await.unwrap();
    assert_eq!((&first, first.created), (&again, true));
    assert_eq!(namespace.counts().0, 1);

    let rename = Rename { from: path("/a"), to: path("/b"), now_ns: 1 };
    namespace.run(operation(3, 2), &rename).await.unwrap();
    create(&namespace, "/a").await;
    namespace.run(operation(3, 2), &rename).await.unwrap();
    assert!(namespace.stat(&path("/a")).await.is_ok(), "the repeated rename moved nothing");

    let late = namespace.run(operation(3, 1), &create_of(&path("/c"), true)).await.unwrap_err();
    assert!(matches!(late, NamespaceError::Superseded { last: 2, .. }));
    let reused = namespace.run(operation(3, 2), &create_of(&path("/c"), true)).await.unwrap_err();
    assert!(matches!(reused, NamespaceError::Reused(_)));
}

/// Without the session's record nothing commits, and its stored answers are gone.
#[tokio::test]
async fn an_ended_session_changes_nothing() {
    let namespace = empty().await;
    namespace.run(operation(0, 1), &create_of(&path("/a"), true)).await.unwrap();
    namespace.run(None, &EndSession { client: CLIENT, dead: true }).await.unwrap();
    let refused = namespace.run(operation(0, 2), &create_of(&path("/b"), true)).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NoSession);
    assert_eq!(namespace.store().get(&keys::operation(CLIENT, 0)).await.unwrap(), None);
    let dead = async || namespace.known_sessions().await.unwrap().dead;
    assert_eq!(dead().await, [CLIENT]);
    namespace.run(None, &ForgetDead { client: CLIENT }).await.unwrap();
    assert!(dead().await.is_empty());
}

/// A truncation raises the generation; reports of the time before it do not bring the old size back.
#[tokio::test]
async fn late_size_reports_do_not_undo_a_truncation() {
    let namespace = empty().await;
    let file = create(&namespace, "/a").await.id;
    let report = |generation, bytes, slot| Report {
        size: Some(FileSize { generation, bytes }),
        committed_slots: SlotSet::from_iter([slot]),
        modified_ns: 9,
    };
    namespace.record(file, &report(1, 1000, 0)).await.unwrap();
    namespace.record(file, &report(1, 500, 1)).await.unwrap();
    let status = namespace.stat_id(file).await.unwrap();
    assert_eq!((status.size.bytes, status.committed_slots.as_bytes()), (1000, &[0b11][..]));

    namespace.run(None, &BeginTruncation { file, size_bytes: 100, now_ns: 10 }).await.unwrap();
    namespace.record(file, &report(1, 2000, 0)).await.unwrap();
    let pending = namespace.pending_truncations().await.unwrap();
    let size = FileSize { generation: 2, bytes: 100 };
    assert_eq!(pending, [PendingTruncation { file, size, from_bytes: 100 }]);
    assert_eq!(namespace.stat_id(file).await.unwrap().size, size);

    namespace.run(None, &FinishTruncation { file, generation: 1 }).await.unwrap();
    assert!(namespace.pending_truncation(file).await.unwrap().is_some(), "another one's end is not this one's");
    namespace.run(None, &FinishTruncation { file, generation: 2 }).await.unwrap();
    assert_eq!(namespace.pending_truncation(file).await.unwrap(), None);
    namespace.record(file, &report(2, 150, 0)).await.unwrap();
    assert_eq!(namespace.stat_id(file).await.unwrap().size.bytes, 150);
}

/// A removed file lives without a name until it is reaped; then each of its servers has one removal.
#[tokio::test]
async fn a_removed_file_becomes_an_orphan_and_then_removals() {
    let namespace = empty().await;
    let file = create(&namespace, "/a").await.id;
    assert_eq!(namespace.is_linked(file).await.unwrap(), Some(true));
    namespace.run(None, &Reap { file }).await.unwrap();
    assert_eq!(namespace.is_linked(file).await.unwrap(), Some(true), "a file with a name is not reaped");

    let removed = namespace.run(None, &Remove { path: path("/a"), kind: None, now_ns: 1 }).await.unwrap();
    assert_eq!(removed.file, file.get());
    assert_eq!(namespace.is_linked(file).await.unwrap(), Some(false));
    assert_eq!(namespace.counts().0, 1);
    namespace.run(None, &Reap { file }).await.unwrap();
    assert_eq!((namespace.is_linked(file).await.unwrap(), namespace.counts().0), (None, 0));
    for server in [1, 2].map(|id| ServerId::new(id).unwrap()) {
        assert_eq!(namespace.removals(server, 10).await.unwrap(), [file]);
        namespace.removed(server, &[file]).await.unwrap();
        assert!(namespace.removals(server, 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_rename_replaces_a_file_and_orphans_it() {
    let namespace = empty().await;
    let (old, new) = (create(&namespace, "/old").await.id, create(&namespace, "/new").await.id);
    let rename = Rename { from: path("/new"), to: path("/old"), now_ns: 1 };
    assert_eq!(namespace.run(None, &rename).await.unwrap().file, old.get());
    assert_eq!(namespace.stat(&path("/old")).await.unwrap().id, new);
    assert_eq!(namespace.orphans().await.unwrap(), [old]);
}
