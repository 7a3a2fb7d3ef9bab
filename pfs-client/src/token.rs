//! The right to access some bytes now.

use crate::shared_file::SharedFile;
use pfs_core::token::holder::OperationId;
use pfs_core::token::message::Mode;
use std::fmt;
use std::sync::Arc;

/// A pin on granted ranges: while it lives, nobody else gets a token that conflicts. Dropping it ends the access; it
/// must outlive every request to a server that was made under it.
#[must_use = "dropping the token ends the access"]
pub struct Token {
    file: Arc<SharedFile>,
    /// Nothing for an access without bytes.
    operation: Option<OperationId>,
    mode: Mode,
}

impl Token {
    pub(crate) fn new(file: Arc<SharedFile>, operation: Option<OperationId>, mode: Mode) -> Self {
        Token { file, operation, mode }
    }

    /// The access has failed and its caller is told; requests that may still be applied keep the token.
    pub(crate) fn doubt(&self) {
        if let Some(operation) = self.operation {
            self.file.doubt(operation);
        }
    }

    /// What it allows.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(operation) = self.operation {
            self.file.end(operation);
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} token of {}", self.mode, self.file.name)
    }
}
