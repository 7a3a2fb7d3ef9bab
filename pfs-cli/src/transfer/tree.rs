//! Copies of directories with everything below them.

use super::copier::Copier;
use crate::connection::cannot;
use crate::failure::{Failure, Outcome, for_each};
use crate::names::Place;
use pfs_client::{EntryKind, ErrorKind};
use std::fs;
use std::io;
use std::path::Path;

/// What a directory entry is for a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    /// A link to a directory, a device, a socket: left out, with a note.
    Other,
}

impl Copier<'_> {
    /// Copies a file, or a directory with everything below it; `to` is the copy's own name. Directories that exist
    /// are filled up. One file that fails does not keep the others from being copied.
    pub fn copy_tree(&mut self, from: &Place, to: &Place) -> Outcome {
        if self.kind(from)? != Kind::Directory {
            return self.copy_file(from, to);
        }
        refuse_itself(from, to)?;
        let mut outcome = Ok(());
        let mut directories = vec![(from.clone(), to.clone())];
        while let Some((from, to)) = directories.pop() {
            self.make_directory(&to)?;
            let children = self.children(&from)?;
            let copied = for_each(children, |(name, kind)| {
                self.copy_child(kind, from.join(&name)?, to.join(&name)?, &mut directories)
            });
            match copied {
                Err(Failure::Reported) => outcome = Err(Failure::Reported),
                copied => copied?,
            }
        }
        outcome
    }

    fn copy_child(&mut self, kind: Kind, from: Place, to: Place, directories: &mut Vec<(Place, Place)>) -> Outcome {
        match kind {
            Kind::File => return self.copy_file(&from, &to),
            Kind::Directory => directories.push((from, to)),
            Kind::Other => eprintln!("note: {from} is no file and no directory, and is left out"),
        }
        Ok(())
    }

    fn kind(&mut self, place: &Place) -> Result<Kind, Failure> {
        match place {
            Place::Pipe => Ok(Kind::File),
            Place::Local(path) => {
                let metadata = fs::metadata(path).map_err(|error| local_failure("read", path, &error))?;
                Ok(if metadata.is_dir() { Kind::Directory } else { Kind::File })
            }
            Place::Remote(name) => {
                let status = self.clusters.of(name)?.client.stat(&name.path);
                Ok(remote_kind(status.map_err(|error| cannot(format_args!("read {name}"), &error))?.kind))
            }
        }
    }

    fn children(&mut self, place: &Place) -> Result<Vec<(String, Kind)>, Failure> {
        match place {
            Place::Pipe => Ok(Vec::new()),
            Place::Local(path) => local_children(path),
            Place::Remote(name) => {
                let entries = self.clusters.of(name)?.client.list(&name.path);
                let entries = entries.map_err(|error| cannot(format_args!("list {name}"), &error))?;
                Ok(entries.into_iter().map(|entry| (entry.name, remote_kind(entry.status.kind))).collect())
            }
        }
    }

    /// Makes a directory that does not exist yet, in one that does.
    fn make_directory(&mut self, place: &Place) -> Outcome {
        match place {
            Place::Pipe => Err(Failure::usage("a directory can not be copied to a pipe")),
            Place::Local(path) => match fs::create_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
                result => result.map_err(|error| local_failure("make the directory", path, &error)),
            },
            Place::Remote(name) => {
                let client = &self.clusters.of(name)?.client;
                let failed = |error| cannot(format_args!("make the directory {name}"), &error);
                match client.make_directory(&name.path, false) {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        match client.stat(&name.path).map_err(failed)?.kind {
                            EntryKind::Directory => Ok(()),
                            EntryKind::File => Err(failed(error)),
                        }
                    }
                    result => result.map_err(failed),
                }
            }
        }
    }
}

/// A directory that is copied into itself would never end.
fn refuse_itself(from: &Place, to: &Place) -> Outcome {
    match (from, to) {
        (Place::Remote(source), Place::Remote(target))
            if source.metadata == target.metadata && target.path.starts_with(&source.path) =>
        {
            Err(Failure::because(format_args!("copy {from} to {to}"), "the copy would be a part of itself")
                .next("name a destination outside of it"))
        }
        _ => Ok(()),
    }
}

fn local_children(path: &Path) -> Result<Vec<(String, Kind)>, Failure> {
    let failed = |error: io::Error| local_failure("list", path, &error);
    let mut children = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().map_err(|name| {
            let problem = format!("{name:?} is not UTF-8 text");
            Failure::because(format_args!("copy {}", path.display()), problem).next("rename the file")
        })?;
        children.push((name, local_kind(&entry).map_err(failed)?));
    }
    children.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(children)
}

/// Links to files are copied as the files; links to directories could lead in circles.
fn local_kind(entry: &fs::DirEntry) -> io::Result<Kind> {
    let kind = entry.file_type()?;
    let links_to_file = || fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file());
    if kind.is_dir() {
        Ok(Kind::Directory)
    } else if kind.is_file() || kind.is_symlink() && links_to_file() {
        Ok(Kind::File)
    } else {
        Ok(Kind::Other)
    }
}

fn remote_kind(kind: EntryKind) -> Kind {
    match kind {
        EntryKind::File => Kind::File,
        EntryKind::Directory => Kind::Directory,
    }
}

fn local_failure(tried: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::cannot(format_args!("{tried} {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_entries_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "x").unwrap();
        fs::create_dir(at("directory")).unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("directory"), at("loop")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("void")).unwrap();
        let children = local_children(directory.path()).unwrap();
        let expected = [
            ("directory", Kind::Directory),
            ("file", Kind::File),
            ("link", Kind::File),
            ("loop", Kind::Other),
            ("void", Kind::Other),
        ];
        assert_eq!(children, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }

    #[test]
    fn a_tree_is_not_copied_into_itself() {
        let place = |text| Place::parse(text).unwrap();
        assert!(refuse_itself(&place("pfs:/a"), &place("pfs:/a/b")).is_err());
        assert!(refuse_itself(&place("pfs:/a"), &place("pfs:/a")).is_err());
        assert!(refuse_itself(&place("pfs:/a"), &place("pfs:/ab")).is_ok());
        assert!(refuse_itself(&place("pfs:/a"), &place("pfs://h:1/a/b")).is_ok());
    }
}
