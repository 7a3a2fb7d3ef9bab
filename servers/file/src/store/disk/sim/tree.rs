//! A whole file system at one time: names, directories, bytes.

use super::change::Change;
use super::sectors::Contents;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What a file is, whatever names it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileNumber(u64);

impl fmt::Display for FileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {}", self.0)
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Directory,
    File(FileNumber),
}

/// Names, directories and bytes. Files without a name stay: somebody may have them open.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    names: BTreeMap<PathBuf, Node>,
    files: BTreeMap<FileNumber, Contents>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { names: BTreeMap::from([("/".into(), Node::Directory)]), files: BTreeMap::new() }
    }
}

impl Tree {
    pub(super) fn new(names: BTreeMap<PathBuf, Node>, files: BTreeMap<FileNumber, Contents>) -> Self {
        Tree { names, files }
    }

    pub(super) fn into_parts(self) -> (BTreeMap<PathBuf, Node>, BTreeMap<FileNumber, Contents>) {
        (self.names, self.files)
    }

    pub(super) fn next_file(&self) -> FileNumber {
        FileNumber(self.files.last_key_value().map_or(1, |(last, _)| last.0 + 1))
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<FileNumber> {
        match self.names.get(path) {
            Some(Node::File(number)) => Ok(*number),
            Some(Node::Directory) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn is_directory(&self, path: &Path) -> bool {
        self.names.get(path) == Some(&Node::Directory)
    }

    pub(super) fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        self.check_directory(directory)?;
        let inside = self.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(inside.filter_map(|path| path.file_name()).map(OsString::from).collect())
    }

    pub(super) fn contents(&self, file: FileNumber) -> &Contents {
        &self.files[&file]
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        self.files.values().map(Contents::allocated_bytes).sum()
    }

    pub(super) fn apply(&mut self, change: &Change) -> io::Result<()> {
        match change {
            Change::Write { file, offset, bytes } => self.open(*file).write(bytes, *offset),
            Change::SetLength { file, length } => self.open(*file).set_length(*length),
            Change::Punch { file, offset, length } => self.open(*file).punch(*offset, *length),
            Change::Allocate { file, length, .. } => self.open(*file).reserve(*length),
            Change::Sync { .. } => {}
            Change::SyncDirectory { directory } => self.check_directory(directory)?,
            Change::Create { path, file } => {
                self.add(path, Node::File(*file))?;
                self.files.insert(*file, Contents::default());
            }
            Change::MakeDirectory { path } => self.add(path, Node::Directory)?,
            Change::Unlink { path } => {
                self.file(path)?;
                self.names.remove(path);
            }
            Change::Rename { from, to } => {
                let file = self.file(from)?;
                self.names.remove(from);
                self.names.insert(to.clone(), Node::File(file));
            }
        }
        Ok(())
    }

    fn open(&mut self, file: FileNumber) -> &mut Contents {
        self.files.get_mut(&file).expect("a file that was opened")
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<()> {
        self.check_directory(path.parent().unwrap_or(path))?;
        if self.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.names.insert(path.to_owned(), node);
        Ok(())
    }

    fn check_directory(&self, path: &Path) -> io::Result<()> {
        match self.names.get(path) {
            Some(Node::Directory) => Ok(()),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }
}
