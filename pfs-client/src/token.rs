//! The right to access some bytes now.

use crate::shared_file::SharedFile;
use parking_lot::Mutex;
use pfs_core::ids::{ServerId, Stamp};
use pfs_core::token::holder::OperationId;
use pfs_core::token::message::{Mode, Undrained};
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
    /// Writes of it that may still be applied, at servers that can not be asked.
    undrained: Mutex<Vec<Undrained>>,
}

impl Token {
    pub(crate) fn new(file: Arc<SharedFile>, operation: Option<OperationId>, mode: Mode) -> Self {
        Token { file, operation, mode, undrained: Mutex::new(Vec::new()) }
    }

    /// The server can not be asked about these writes. When the last user of the token is gone, its range may go to
    /// others with their names (rule 7).
    pub(crate) fn give_up_doubts(&self, server: ServerId, doubts: &[(Stamp, u64)]) {
        let undrained = |(stamp, sequence): &(Stamp, u64)| Undrained { server, boot: stamp.boot, sequence: *sequence };
        self.undrained.lock().extend(doubts.iter().map(undrained));
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
            match std::mem::take(self.undrained.get_mut()) {
                undrained if undrained.is_empty() => self.file.end(operation),
                undrained => self.file.give_up_doubt(operation, undrained),
            }
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} token of {}", self.mode, self.file.name)
    }
}
