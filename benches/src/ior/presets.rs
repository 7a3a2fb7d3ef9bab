//! Parameters that belong together, by name. What follows `--preset` on the command line changes them.

use crate::ior::params::Params;

/// A well-known workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// A file per rank, large transfers from front to back.
    Easy,
    /// A shared file of interleaved pieces of 47,008 bytes.
    Hard,
    /// A shared file of interleaved pieces of 64 KiB, 16 in a call, by a view.
    Strided,
    /// Transfers of 4 KiB in random order, in a preallocated shared file.
    Random,
    /// Arrays of three dimensions, each rank's box in one collective call.
    Checkpoint3d,
}

impl Preset {
    /// All of them.
    pub const ALL: [Preset; 5] = [Preset::Easy, Preset::Hard, Preset::Strided, Preset::Random, Preset::Checkpoint3d];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Easy => "easy",
            Preset::Hard => "hard",
            Preset::Strided => "strided",
            Preset::Random => "random",
            Preset::Checkpoint3d => "checkpoint-3d",
        }
    }

    /// The preset of this name.
    pub fn parse(text: &str) -> Result<Preset, String> {
        let found = Preset::ALL.into_iter().find(|preset| preset.name() == text);
        found.ok_or_else(|| {
            let names = Preset::ALL.map(Preset::name).join(", ");
            format!("there is no preset {text:?}; there are {names}")
        })
    }

    /// Sets its parameters.
    pub fn apply(self, params: &mut Params) {
        // Neighbours' data is read, so that no cache of a writer helps.
        (params.reorder, params.task_offset, params.barriers) = (1, 1, 1);
        match self {
            Preset::Easy => {
                (params.file_per_rank, params.fsync) = (1, 1);
                (params.block_bytes, params.transfer_bytes, params.segments) = (64 << 20, 2 << 20, 1);
            }
            Preset::Hard => {
                (params.file_per_rank, params.fsync) = (0, 1);
                (params.block_bytes, params.transfer_bytes, params.segments) = (47_008, 47_008, 1428);
            }
            Preset::Strided => {
                (params.file_per_rank, params.fsync, params.view, params.segments_per_call) = (0, 1, 1, 16);
                (params.block_bytes, params.transfer_bytes, params.segments) = (64 << 10, 64 << 10, 1024);
            }
            Preset::Random => {
                (params.reorder, params.random, params.preallocate) = (0, 1, 1);
                (params.block_bytes, params.transfer_bytes, params.segments) = (8 << 20, 4 << 10, 1);
            }
            Preset::Checkpoint3d => {
                (params.file_per_rank, params.fsync, params.array) = (0, 1, 1);
                (params.view, params.collective) = (1, 1);
                (params.block_bytes, params.transfer_bytes, params.segments) = (8 << 20, 8 << 20, 8);
            }
        }
    }
}
