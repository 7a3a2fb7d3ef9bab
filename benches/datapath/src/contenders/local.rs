//! `pwrite` of blocks into a local file from a buffer that is in the processor's cache: the least that storing costs.

use super::Contender;
use crate::work::{BLOCK, Job, Material};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the buffer.
const HOT_BYTES: usize = 64 << 10;

/// A local file.
pub struct Local {
    file: File,
    buffer: Vec<u8>,
}

impl Local {
    /// A new file in `directory`, without a name.
    pub fn create(directory: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(directory).with_context(|| format!("file in {}", directory.display()))?;
        Ok(Local { file, buffer: vec![7; HOT_BYTES] })
    }
}

impl Contender for Local {
    fn name(&self) -> &'static str {
        "pwrite"
    }

    fn servers(&self) -> &[i32] {
        &[]
    }

    fn empty(&mut self) -> Result<()> {
        self.file.set_len(0).context("empty the local file")
    }

    fn run(&mut self, job: Job, material: &Material) -> Result<()> {
        let Job::WriteLists = job else { bail!("a local file only writes lists") };
        for list in &material.lists {
            for (offset, block) in list.iter().zip(self.buffer.chunks_exact(BLOCK).cycle()) {
                self.file.write_all_at(block, *offset).context("write the local file")?;
            }
        }
        Ok(())
    }

    fn beside(&mut self, _job: Job, _material: &Material, _work: &mut dyn FnMut()) -> Result<()> {
        bail!("a local file only writes lists")
    }

    fn check(&self, _job: Job, _material: &Material) -> Result<()> {
        Ok(())
    }
}
