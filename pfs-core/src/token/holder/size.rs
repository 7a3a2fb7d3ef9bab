//! What this client knows of the file's size (rule 21).

use super::TokenHolder;
use crate::extent::Extent;
use crate::token::message::FileSize;

impl TokenHolder {
    /// A lower bound of the file's size. For bytes of a range that is pinned, "below it" is exact.
    pub fn known_size(&self) -> FileSize {
        self.known_size
    }

    /// What this client has written and must report.
    pub fn written_size(&self) -> Option<FileSize> {
        self.written_size
    }

    /// Takes over what somebody else knows about the size.
    pub fn learn_size(&mut self, size: FileSize) {
        if size.generation > self.known_size.generation {
            self.written_size = None;
        }
        self.known_size.learn(size);
    }

    /// Bytes before `end` were written under a pin of this client, to a server or into its cache.
    pub fn record_write(&mut self, end: u64) {
        let written = FileSize { generation: self.known_size.generation, bytes: end };
        self.known_size.learn(written);
        match &mut self.written_size {
            Some(size) => size.learn(written),
            None => self.written_size = Some(written),
        }
    }

    /// Whether what is held reaches from `at` to infinity, so that nobody else can make the file longer.
    pub fn holds_to_infinity(&self, at: u64) -> bool {
        self.held.covers(Extent::from(at), |_| true)
    }
}
