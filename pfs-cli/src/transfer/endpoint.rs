//! The two ends of a copy: opened, and finished when all bytes are there.

use super::Source;
use super::copier::Copier;
use super::local::{Placed, StagedFile};
use crate::connection::cannot;
use crate::failure::{Failure, Outcome};
use crate::names::{Place, RemoteName};
use pfs_client::blocking::{Client, File as RemoteFile};
use pfs_client::{Access, EntryKind, ErrorKind, FileStatus, OpenOptions};
use pfs_core::layout::Recipe;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// Where the bytes come from.
pub enum OpenSource {
    /// Has a size and is read at offsets.
    File {
        /// The file.
        file: Box<dyn Source>,
        /// Its size when the copy began.
        bytes: u64,
        /// What the file system knows of it, if it is there.
        remote: Option<FileStatus>,
    },
    /// Is read in order, to an end that nobody knows.
    Stream(Box<dyn Read>),
}

/// Where the bytes go.
pub enum OpenTarget {
    /// A file of the file system.
    Remote(RemoteFile),
    /// A local file.
    Local(StagedFile),
    /// Standard output, or a device.
    Stream(Box<dyn Write>),
}

impl OpenSource {
    /// The size, if it has one.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            OpenSource::File { bytes, .. } => Some(*bytes),
            OpenSource::Stream(_) => None,
        }
    }

    /// The layout, if it is striped.
    pub fn recipe(&self) -> Option<&Recipe> {
        self.remote().and_then(|status| status.recipe.as_ref())
    }

    fn remote(&self) -> Option<&FileStatus> {
        match self {
            OpenSource::File { remote, .. } => remote.as_ref(),
            OpenSource::Stream(_) => None,
        }
    }
}

impl OpenTarget {
    /// The layout, if it is striped.
    pub fn recipe(&self) -> Option<&Recipe> {
        match self {
            OpenTarget::Remote(file) => Some(file.recipe()),
            OpenTarget::Local(_) | OpenTarget::Stream(_) => None,
        }
    }

    /// Makes the copy durable, and visible under its name.
    pub fn finish(self, from: &Place, to: &Place, replace: bool) -> Outcome {
        let tried = format!("finish the copy of {from} to {to}");
        match self {
            OpenTarget::Remote(file) => {
                file.close().map_err(|error| cannot(&tried, &error).next("copy again; what is there may be incomplete"))
            }
            OpenTarget::Local(staged) => match staged.place(replace) {
                Ok(Placed::Yes | Placed::NameTaken) => Ok(()),
                Err(error) => Err(Failure::cannot(tried, &error).next("the destination is as it was")),
            },
            OpenTarget::Stream(mut stream) => stream.flush().map_err(|error| Failure::cannot(tried, &error)),
        }
    }
}

impl Copier<'_> {
    /// Opens the source; directories are refused.
    pub(super) fn open_source(&mut self, from: &Place) -> Result<OpenSource, Failure> {
        match from {
            Place::Pipe => Ok(OpenSource::Stream(Box::new(io::stdin().lock()))),
            Place::Local(path) => open_local_source(path),
            Place::Remote(name) => open_remote_source(&self.clusters.of(name)?.client, name),
        }
    }

    /// Opens the destination; nothing if a file is there that is to be left alone.
    pub(super) fn open_target(
        &mut self,
        source: &OpenSource,
        from: &Place,
        to: &Place,
    ) -> Result<Option<OpenTarget>, Failure> {
        match to {
            Place::Pipe => Ok(Some(OpenTarget::Stream(Box::new(io::stdout().lock())))),
            Place::Local(path) => self.open_local_target(path),
            Place::Remote(name) => {
                let same_cluster = matches!(from, Place::Remote(from) if from.metadata == name.metadata);
                let source = source.remote().filter(|_| same_cluster);
                self.open_remote_target(source, name)
            }
        }
    }

    fn open_local_target(&self, path: &Path) -> Result<Option<OpenTarget>, Failure> {
        let failed = |error: io::Error| Failure::cannot(format_args!("write {}", path.display()), &error);
        match fs::metadata(path) {
            Ok(_) if self.options.no_clobber => Ok(None),
            Ok(metadata) if metadata.is_dir() => Err(failed(io::ErrorKind::IsADirectory.into())),
            Ok(metadata) if !metadata.is_file() => {
                let device = fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
                Ok(Some(OpenTarget::Stream(Box::new(device))))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(Some(OpenTarget::Local(StagedFile::create(path, self.interrupt.clone()).map_err(failed)?))),
        }
    }

    fn open_remote_target(
        &mut self,
        source: Option<&FileStatus>,
        name: &RemoteName,
    ) -> Result<Option<OpenTarget>, Failure> {
        let client = &self.clusters.of(name)?.client;
        match client.stat(&name.path) {
            Ok(_) if self.options.no_clobber => return Ok(None),
            Ok(existing) => self.check_overwrite(source, &existing, name)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(format_args!("write {name}"), &error)),
        }
        let options = OpenOptions {
            access: Access::Write,
            create: true,
            exclusive: self.options.no_clobber,
            truncate: true,
            layout: self.options.layout,
        };
        match self.clusters.of(name)?.client.open(&name.path, &options) {
            Ok(file) => Ok(Some(OpenTarget::Remote(file))),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.options.no_clobber => Ok(None),
            Err(error) => Err(cannot(format_args!("write {name}"), &error)),
        }
    }

    /// Whether an existing file can be overwritten with what the user asked for.
    fn check_overwrite(&self, source: Option<&FileStatus>, existing: &FileStatus, name: &RemoteName) -> Outcome {
        let tried = format!("write {name}");
        if existing.kind == EntryKind::Directory {
            return Err(Failure::because(tried, "it is a directory").next("name a file in it"));
        }
        if source.is_some_and(|source| source.id == existing.id) {
            return Err(
                Failure::because(tried, "source and destination are the same file").next("give the copy another name")
            );
        }
        let Some(recipe) = &existing.recipe else { return Ok(()) };
        let wished = &self.options.layout;
        if wished.stripe_unit.is_some_and(|unit| unit != recipe.stripe_unit())
            || wished.stripe_count.is_some_and(|count| count != recipe.stripe_count())
        {
            let (count, unit) = (recipe.stripe_count(), recipe.stripe_unit());
            let problem =
                format!("it exists with another layout ({count} servers, units of {unit} bytes), which is fixed");
            return Err(Failure::because(tried, problem).next(format_args!("remove it with `pfs rm {name}` first")));
        }
        Ok(())
    }
}

fn open_local_source(path: &Path) -> Result<OpenSource, Failure> {
    let failed = |error: io::Error| Failure::cannot(format_args!("read {}", path.display()), &error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(is_a_directory(path.display()));
    }
    if !metadata.is_file() {
        return Ok(OpenSource::Stream(Box::new(file)));
    }
    Ok(OpenSource::File { file: Box::new(file), bytes: metadata.len(), remote: None })
}

fn open_remote_source(client: &Client, name: &RemoteName) -> Result<OpenSource, Failure> {
    let failed = |error| cannot(format_args!("read {name}"), &error);
    let status = client.stat(&name.path).map_err(failed)?;
    if status.kind == EntryKind::Directory {
        return Err(is_a_directory(name));
    }
    let file = client.open(&name.path, &OpenOptions::default()).map_err(failed)?;
    let bytes = file.size().map_err(failed)?;
    let status = file.status().clone();
    Ok(OpenSource::File { file: Box::new(file), bytes, remote: Some(status) })
}

fn is_a_directory(name: impl std::fmt::Display) -> Failure {
    Failure::because(format_args!("copy {name}"), "it is a directory")
        .next("give -r to copy it with everything below it")
}
