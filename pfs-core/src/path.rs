//! Names in the file system: absolute, normalised and bounded, checked once on receipt.

use std::fmt;

/// Most bytes of one name.
pub const NAME_BYTES_MAX: usize = 255;
/// Most bytes of a whole path.
pub const PATH_BYTES_MAX: usize = 4096;

/// Why a path was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not absolute.
    #[error("the path {0:?} does not start with '/'")]
    NotAbsolute(String),
    /// A `.` or `..` component.
    #[error("the path {0:?} has a '.' or '..' in it; give the path without them")]
    Dots(String),
    /// A component is too long.
    #[error("a name of {0} bytes is too long; names have at most {NAME_BYTES_MAX} bytes")]
    NameTooLong(usize),
    /// The path is too long.
    #[error("a path of {0} bytes is too long; paths have at most {PATH_BYTES_MAX} bytes")]
    TooLong(usize),
    /// A zero byte or another control character.
    #[error("the path {0:?} has a control character in it")]
    ControlCharacter(String),
    /// The root, where a name is needed.
    #[error("'/' is the root directory; this needs the name of something in it")]
    Root,
}

/// An absolute, normalised path: `/`, or names each after one slash. Repeated and trailing slashes are dropped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PfsPath(String);

impl PfsPath {
    /// The root directory.
    pub fn root() -> Self {
        PfsPath("/".to_owned())
    }

    /// Checks and normalises.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err(PathError::ControlCharacter(text.to_owned()));
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PathError::NotAbsolute(text.to_owned()));
        };
        let mut path = String::with_capacity(text.len());
        for name in rest.split('/').filter(|name| !name.is_empty()) {
            match name {
                "." | ".." => return Err(PathError::Dots(text.to_owned())),
                name if name.len() > NAME_BYTES_MAX => return Err(PathError::NameTooLong(name.len())),
                name => {
                    path.push('/');
                    path.push_str(name);
                }
            }
        }
        if path.is_empty() {
            path.push('/');
        }
        Ok(PfsPath(path))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names from the root down; none for the root.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// The last name and the directory it is in, or an error for the root.
    pub fn split_last(&self) -> Result<(PfsPath, &str), PathError> {
        match self.0.rsplit_once('/') {
            Some((_, "")) | None => Err(PathError::Root),
            Some(("", name)) => Ok((PfsPath::root(), name)),
            Some((parent, name)) => Ok((PfsPath(parent.to_owned()), name)),
        }
    }

    /// Whether this is `other` or something below it.
    pub fn starts_with(&self, other: &PfsPath) -> bool {
        other.0 == "/" || self.0.strip_prefix(&other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// This path with one more name.
    pub fn join(&self, name: &str) -> Result<PfsPath, PathError> {
        PfsPath::parse(&format!("{}/{name}", self.0))
    }
}

impl fmt::Display for PfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PfsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_normalised() {
        for (text, path) in [("/", "/"), ("///", "/"), ("/a//b/", "/a/b"), ("/ä ö", "/ä ö")] {
            assert_eq!(PfsPath::parse(text).unwrap().as_str(), path);
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        let long_name = format!("/{}", "n".repeat(256));
        let long_path = "/abc".repeat(1025);
        for (text, error) in [
            ("", PathError::NotAbsolute(String::new())),
            ("a/b", PathError::NotAbsolute("a/b".into())),
            ("/a/../b", PathError::Dots("/a/../b".into())),
            ("/a/.", PathError::Dots("/a/.".into())),
            ("/a\0b", PathError::ControlCharacter("/a\0b".into())),
            (&long_name, PathError::NameTooLong(256)),
            (&long_path, PathError::TooLong(4100)),
        ] {
            assert_eq!(PfsPath::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(PfsPath::root().split_last(), Err(PathError::Root));
    }

    #[test]
    fn parents_and_prefixes() {
        let path = PfsPath::parse("/a/b").unwrap();
        assert_eq!(path.split_last().unwrap(), (PfsPath::parse("/a").unwrap(), "b"));
        assert!(path.starts_with(&PfsPath::root()));
        assert!(path.starts_with(&PfsPath::parse("/a").unwrap()));
        assert!(!PfsPath::parse("/ab").unwrap().starts_with(&PfsPath::parse("/a").unwrap()));
    }
}
