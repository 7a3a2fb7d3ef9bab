//! Names on the command line: of files in the file system, of local files, and `-` for a pipe.
//!
//! `pfs:/path` and `pfs://host:port/path` are always remote. A plain `/path` is remote only where nothing local
//! could be meant; where both could be, a local file whose name starts with `pfs:` is given as `./pfs:…`.

use crate::failure::Failure;
use pfs_core::path::PfsPath;
use std::fmt;
use std::path::PathBuf;

/// A file or directory of the file system, and the metadata server that the name itself gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteName {
    /// "host:port", when the name has one.
    pub metadata: Option<String>,
    /// Absolute and normalised.
    pub path: PfsPath,
}

impl RemoteName {
    /// Reads a name where only a remote one makes sense.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let (metadata, path) = pfs_client::parse_url(text).map_err(Failure::usage)?;
        Ok(RemoteName { metadata, path })
    }

    /// The same place with one more name.
    pub fn join(&self, name: &str) -> Result<Self, Failure> {
        let path = self
            .path
            .join(name)
            .map_err(|error| Failure::cannot(format_args!("use the name {name:?} in {self}"), &error))?;
        Ok(RemoteName { metadata: self.metadata.clone(), path })
    }

    /// The last name of the path; none for the root.
    pub fn last_name(&self) -> Option<&str> {
        self.path.split_last().ok().map(|(_, name)| name)
    }
}

impl fmt::Display for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.metadata {
            Some(metadata) => write!(f, "pfs://{metadata}{}", self.path),
            None => write!(f, "pfs:{}", self.path),
        }
    }
}

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `-`: standard input or output.
    Pipe,
    /// A file of this machine.
    Local(PathBuf),
    /// A file of the file system.
    Remote(RemoteName),
}

impl Place {
    /// Reads a name where both sides are possible.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "-" => Ok(Place::Pipe),
            "" => Err(Failure::usage("an empty file name")),
            remote if remote.starts_with("pfs:") => RemoteName::parse(remote).map(Place::Remote),
            local => Ok(Place::Local(PathBuf::from(local))),
        }
    }
}

impl Place {
    /// The last name; none for a pipe or a root.
    pub fn last_name(&self) -> Option<&str> {
        match self {
            Place::Pipe => None,
            Place::Local(path) => path.file_name().and_then(|name| name.to_str()),
            Place::Remote(name) => name.last_name(),
        }
    }

    /// The same place with one more name; nothing is in a pipe.
    pub fn join(&self, name: &str) -> Result<Self, Failure> {
        match self {
            Place::Pipe => Err(Failure::usage("`-` is no directory")),
            Place::Local(path) => Ok(Place::Local(path.join(name))),
            Place::Remote(remote) => remote.join(name).map(Place::Remote),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Pipe => f.write_str("-"),
            Place::Local(path) => path.display().fmt(f),
            Place::Remote(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_knows_its_sides() {
        assert_eq!(Place::parse("-").unwrap(), Place::Pipe);
        assert_eq!(Place::parse("/tmp/x").unwrap(), Place::Local("/tmp/x".into()));
        assert_eq!(Place::parse("./pfs:/x").unwrap(), Place::Local("./pfs:/x".into()));
        let Place::Remote(name) = Place::parse("pfs:/a//b/").unwrap() else { panic!("not remote") };
        assert_eq!((name.metadata.as_deref(), name.path.as_str()), (None, "/a/b"));
        assert_eq!(Place::parse("/tmp/x/").unwrap().last_name(), Some("x"));
        assert_eq!(Place::parse("pfs:/a").unwrap().join("b").unwrap().to_string(), "pfs:/a/b");
        assert!(Place::Pipe.join("b").is_err());
        assert!(Place::parse("").is_err());
        assert!(Place::parse("pfs:relative").is_err());
    }

    #[test]
    fn names_are_shown_as_they_are_given() {
        for text in ["pfs:/", "pfs:/a/b", "pfs://host:4000/a"] {
            assert_eq!(RemoteName::parse(text).unwrap().to_string(), text);
        }
        let root = RemoteName::parse("/").unwrap();
        assert_eq!(root.last_name(), None);
        assert_eq!(root.join("a").unwrap().to_string(), "pfs:/a");
        assert!(root.join("..").is_err());
    }
}
