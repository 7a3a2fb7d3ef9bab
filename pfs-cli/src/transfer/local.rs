//! A local file as the destination of a copy: written under another name, synced, then renamed.
//!
//! So the destination's name always stands for a whole file: the old one, or the new one.

use super::interrupt::Interrupt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// What a shell's redirection gives a new file, before the umask.
const NEW_FILE_MODE: u32 = 0o666;

/// A file that has no name yet.
pub struct StagedFile {
    staged: NamedTempFile,
    destination: PathBuf,
    _registration: Registration,
}

/// Has the file removed if the process must end at once.
struct Registration(Interrupt);

impl Drop for Registration {
    fn drop(&mut self) {
        self.0.set_staged(None);
    }
}

/// Whether a staged file got its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It has it.
    Yes,
    /// Another file has it, and was not to be replaced.
    NameTaken,
}

impl StagedFile {
    /// Begins a file that will replace `destination`, or what that links to.
    pub fn create(destination: &Path, interrupt: Interrupt) -> io::Result<Self> {
        let destination = match fs::canonicalize(destination) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::path::absolute(destination)?,
            resolved => resolved?,
        };
        let staged = tempfile::Builder::new()
            .prefix(".pfs-copy.")
            .permissions(fs::Permissions::from_mode(NEW_FILE_MODE))
            .tempfile_in(parent(&destination))?;
        interrupt.set_staged(Some(staged.path()));
        Ok(StagedFile { staged, destination, _registration: Registration(interrupt) })
    }

    /// To write to.
    pub fn file(&self) -> &File {
        self.staged.as_file()
    }

    /// Makes the content durable, then gives it its name, durably too.
    pub fn place(self, replace: bool) -> io::Result<Placed> {
        self.staged.as_file().sync_all()?;
        let placed = if replace {
            self.staged.persist(&self.destination)
        } else {
            self.staged.persist_noclobber(&self.destination)
        };
        match placed {
            Ok(_) => {}
            Err(error) if !replace && error.error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Placed::NameTaken);
            }
            Err(error) => return Err(error.error),
        }
        File::open(parent(&self.destination))?.sync_all()?;
        Ok(Placed::Yes)
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names_in(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_name_is_there_only_when_the_content_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        fs::write(&path, "old").unwrap();
        let abandoned = StagedFile::create(&path, Interrupt::default()).unwrap();
        abandoned.file().write_all(b"half").unwrap();
        drop(abandoned);
        assert_eq!(
            (fs::read(&path).unwrap().as_slice(), names_in(directory.path())),
            (&b"old"[..], vec!["x".to_owned()])
        );

        let whole = StagedFile::create(&path, Interrupt::default()).unwrap();
        whole.file().write_all(b"new").unwrap();
        assert_eq!(whole.place(true).unwrap(), Placed::Yes);
        assert_eq!(fs::read(&path).unwrap(), b"new");

        let late = StagedFile::create(&path, Interrupt::default()).unwrap();
        assert_eq!(late.place(false).unwrap(), Placed::NameTaken);
        assert_eq!(
            (fs::read(&path).unwrap().as_slice(), names_in(directory.path())),
            (&b"new"[..], vec!["x".to_owned()])
        );
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (link, file) = (directory.path().join("link"), directory.path().join("file"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let staged = StagedFile::create(&link, Interrupt::default()).unwrap();
        staged.file().write_all(b"new").unwrap();
        staged.place(true).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
    }
}
