//! Small files that are whole after a crash: the old content or the new one, never a mixture.

use anyhow::Context;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Replaces a file's content. When this returns, the new content survives a loss of power; when it fails or never
/// returns, the old content or the new one is there.
///
/// One writer at a time for one path; a store's writers are kept apart by its lock.
pub fn write_durably(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = temporary_path(path)?;
    let replaced = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = replaced {
        // The error that is reported is the first one.
        let _ = fs::remove_file(&temporary);
        return Err(error).with_context(|| format!("cannot write {} durably", path.display()));
    }
    let directory = parent(path);
    sync_directory(directory)
}

/// Makes the names in a directory durable.
pub fn sync_directory(directory: &Path) -> anyhow::Result<()> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("cannot make the names in {} durable", directory.display()))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The directory of a path; the working directory for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn temporary_path(path: &Path) -> anyhow::Result<PathBuf> {
    let name = path.file_name().with_context(|| format!("{} does not name a file", path.display()))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_replaced_and_nothing_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("label.json");
        for content in [&b"first"[..], b"a longer second one", b""] {
            write_durably(&path, content).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    /// A crash in the middle of a write leaves the temporary file; the next write must not stumble over it.
    #[test]
    fn a_left_over_temporary_file_does_no_harm() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("label.json");
        fs::write(directory.path().join(".label.json.new"), "half a la").unwrap();
        write_durably(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_failed_write_keeps_the_old_content_and_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("folder");
        fs::create_dir(&path).unwrap();
        let error = write_durably(&path, b"x").unwrap_err();
        assert!(error.to_string().contains("folder"), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "the temporary file is gone");
        assert!(write_durably(&directory.path().join("no/such/folder"), b"x").is_err());
        assert!(write_durably(Path::new("/"), b"x").is_err());
    }
}
