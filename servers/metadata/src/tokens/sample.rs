//! What the state tells of itself, for people.

use super::state::State;
use crate::activity::{FileSample, Sample};
use pfs_core::ids::FileId;
use pfs_core::path::PfsPath;
use std::collections::BTreeSet;

impl State {
    /// To be called before tokens are asked of a file.
    pub(super) fn note_busy(&mut self, file: FileId) {
        let manager = self.coordinator.tokens();
        self.busy.entry(file).or_insert_with(|| manager.file_counters(file));
    }

    /// Counts now: of these files, and of those that tokens were asked of since this was called last.
    pub(crate) fn sample(&mut self, files: Vec<FileId>) -> Sample {
        let busy = std::mem::take(&mut self.busy);
        let concerned: BTreeSet<FileId> = busy.keys().copied().chain(files).collect();
        let manager = self.coordinator.tokens();
        let file_sample = |file: FileId| {
            let tokens = manager.file_counters(file);
            FileSample {
                file,
                name: self.handles.name(file).map(PfsPath::to_string),
                before: busy.get(&file).copied().unwrap_or(tokens),
                tokens,
            }
        };
        Sample {
            tokens: manager.counters(),
            sessions: self.sessions.counts(),
            open_handles: self.handles.len() as u64,
            files: concerned.into_iter().map(file_sample).collect(),
        }
    }
}
