//! What the task tells of itself, for people.

use super::state::State;
use crate::activity::{FileSample, Sample};
use pfs_core::ids::FileId;
use pfs_core::path::PfsPath;

impl State {
    /// Counts now: of these files, and of those that tokens were asked of since this was called last.
    pub(crate) fn sample(&mut self, files: Vec<FileId>) -> Sample {
        let mut concerned = std::mem::take(&mut self.busy);
        concerned.extend(files);
        let manager = self.coordinator.tokens();
        let file_sample = |file: FileId| FileSample {
            file,
            name: self.handles.name(file).map(PfsPath::to_string),
            tokens: manager.file_counters(file),
        };
        Sample {
            tokens: manager.counters(),
            sessions: self.sessions.counts(),
            open_handles: self.handles.len() as u64,
            files: concerned.into_iter().map(file_sample).collect(),
        }
    }
}
