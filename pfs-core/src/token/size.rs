//! What is known of an open file's size, from those who write to it.
//!
//! Invariants: inside a generation the size only grows; the generation only grows; a report never starts a generation.

use super::message::FileSize;

/// The size of one open file, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownSize(FileSize);

impl KnownSize {
    /// With what the store knows.
    pub fn new(stored: FileSize) -> Self {
        KnownSize(stored)
    }

    /// The largest size that was told.
    pub fn get(self) -> FileSize {
        self.0
    }

    /// A holder has seen or written up to a size. Of another generation than the present one it says nothing: the file
    /// was truncated since, or the report makes no sense.
    pub fn learn(&mut self, report: FileSize) {
        if report.generation == self.0.generation || crate::mutant!(LateSizeReport) {
            self.0.bytes = self.0.bytes.max(report.bytes);
        }
    }

    /// The store has a size: of a later generation after the file was truncated or extended, or of the same one and
    /// possibly larger.
    pub fn set(&mut self, stored: FileSize) {
        self.0.learn(stored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_from_before_a_truncation_is_late() {
        let mut size = KnownSize::new(FileSize { generation: 1, bytes: 10 });
        size.learn(FileSize { generation: 1, bytes: 50 });
        size.learn(FileSize { generation: 1, bytes: 40 });
        assert_eq!(size.get(), FileSize { generation: 1, bytes: 50 });
        size.set(FileSize { generation: 2, bytes: 20 });
        size.learn(FileSize { generation: 1, bytes: 99 });
        size.learn(FileSize { generation: 9, bytes: 99 });
        assert_eq!(size.get(), FileSize { generation: 2, bytes: 20 });
        size.learn(FileSize { generation: 2, bytes: 30 });
        assert_eq!(size.get(), FileSize { generation: 2, bytes: 30 });
    }
}
