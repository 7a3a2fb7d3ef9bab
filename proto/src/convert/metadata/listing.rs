//! Lists: the entries of a directory, the tokens of a file.

use super::super::{ConvertError, Problem, Result, bounded, each, id, nested, path, required};
use super::namespace::{file_target, path_target};
use super::{FileMetadata, Target};
use crate::v1;
use pfs_core::ids::ClientId;
use pfs_core::path::{NAME_BYTES_MAX, PfsPath};

/// Most entries of one page of a directory.
pub const LIST_ENTRIES_MAX: u32 = 10_000;
/// Entries of a page when the caller does not say.
pub const LIST_ENTRIES_DEFAULT: u32 = 1000;

/// Asks for one page of a directory, in the order of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListDirectory {
    /// Who asks.
    pub client: ClientId,
    /// The directory.
    pub path: PfsPath,
    /// Names after this one; nothing starts at the first.
    pub after: Option<String>,
    /// Most entries of the page, 1 to [`LIST_ENTRIES_MAX`].
    pub limit: u32,
}

impl TryFrom<v1::ListDirectoryRequest> for ListDirectory {
    type Error = ConvertError;

    fn try_from(message: v1::ListDirectoryRequest) -> Result<Self> {
        bounded(message.limit.into(), "limit", 0, LIST_ENTRIES_MAX.into())?;
        let after = match message.after {
            empty if empty.is_empty() => None,
            name => Some(entry_name(name, "after")?),
        };
        Ok(ListDirectory {
            client: id(message.client_id, "client_id", ClientId::new)?,
            path: path(&message.path, "path")?,
            after,
            limit: if message.limit == 0 { LIST_ENTRIES_DEFAULT } else { message.limit },
        })
    }
}

impl From<ListDirectory> for v1::ListDirectoryRequest {
    fn from(list: ListDirectory) -> Self {
        v1::ListDirectoryRequest {
            client_id: list.client.get(),
            path: list.path.as_str().to_owned(),
            after: list.after.unwrap_or_default(),
            limit: list.limit,
        }
    }
}

/// The name of a directory's entry.
fn entry_name(name: String, field: &str) -> Result<String> {
    let special = matches!(name.as_str(), "" | "." | "..");
    if special || name.len() > NAME_BYTES_MAX || name.chars().any(|c| c == '/' || c.is_control()) {
        let shown = name.chars().take(64).collect();
        return Err(ConvertError::new(field, Problem::EntryName(shown)));
    }
    Ok(name)
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Its name, without a slash.
    pub name: String,
    /// What is known of it.
    pub file: FileMetadata,
}

impl TryFrom<v1::DirectoryEntry> for DirectoryEntry {
    type Error = ConvertError;

    fn try_from(message: v1::DirectoryEntry) -> Result<Self> {
        Ok(DirectoryEntry { name: entry_name(message.name, "name")?, file: nested(message.file, "file")? })
    }
}

impl From<DirectoryEntry> for v1::DirectoryEntry {
    fn from(entry: DirectoryEntry) -> Self {
        v1::DirectoryEntry { name: entry.name, file: Some(entry.file.into()) }
    }
}

/// One page of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryPage {
    /// Entries in the order of their names.
    pub entries: Vec<DirectoryEntry>,
    /// More names follow the last one.
    pub more: bool,
}

impl TryFrom<v1::ListDirectoryReply> for DirectoryPage {
    type Error = ConvertError;

    fn try_from(message: v1::ListDirectoryReply) -> Result<Self> {
        let entries: Vec<DirectoryEntry> = each(message.entries, "entries", LIST_ENTRIES_MAX as usize)?;
        if message.more && entries.is_empty() {
            return Err(ConvertError::new("entries", Problem::Empty));
        }
        Ok(DirectoryPage { entries, more: message.more })
    }
}

impl From<DirectoryPage> for v1::ListDirectoryReply {
    fn from(page: DirectoryPage) -> Self {
        v1::ListDirectoryReply { entries: page.entries.into_iter().map(Into::into).collect(), more: page.more }
    }
}

/// Asks who holds which tokens of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTokens {
    /// The file.
    pub target: Target,
}

impl TryFrom<v1::ListTokensRequest> for ListTokens {
    type Error = ConvertError;

    fn try_from(message: v1::ListTokensRequest) -> Result<Self> {
        use v1::list_tokens_request::Target as Wire;
        let target = match required(message.target, "target")? {
            Wire::Path(text) => path_target(&text)?,
            Wire::FileId(number) => file_target(number)?,
        };
        Ok(ListTokens { target })
    }
}

impl From<ListTokens> for v1::ListTokensRequest {
    fn from(list: ListTokens) -> Self {
        use v1::list_tokens_request::Target as Wire;
        let target = match list.target {
            Target::Path(path) => Wire::Path(path.as_str().to_owned()),
            Target::File(file) => Wire::FileId(file.get()),
        };
        v1::ListTokensRequest { target: Some(target) }
    }
}
