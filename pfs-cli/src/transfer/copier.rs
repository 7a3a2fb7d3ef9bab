//! Copies of whole files: opens both ends, moves the bytes, makes the copy durable.
//!
//! The source is opened before the destination is touched, so a source that is not there costs nothing.

use super::endpoint::{OpenSource, OpenTarget};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{Shape, TransferError, blocks, pipe};
use crate::connection::Clusters;
use crate::failure::{Failure, Outcome};
use crate::names::Place;
use crate::sizes::{human, human_rate};
use pfs_client::LayoutRequest;
use std::io;
use std::time::Instant;

/// What the user wishes.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions {
    /// Leave existing files alone.
    pub no_clobber: bool,
    /// Say what was copied.
    pub verbose: bool,
    /// Show a progress bar on a terminal.
    pub progress: bool,
    /// For files that are made.
    pub layout: LayoutRequest,
    /// Bytes of a block.
    pub block_bytes: usize,
    /// Threads that move blocks.
    pub threads: usize,
}

/// Copies one file or tree after the other.
pub struct Copier<'a> {
    pub(super) clusters: Clusters<'a>,
    pub(super) options: CopyOptions,
    pub(super) interrupt: Interrupt,
}

impl<'a> Copier<'a> {
    /// A copier for these clusters.
    pub fn new(clusters: Clusters<'a>, options: CopyOptions, interrupt: Interrupt) -> Self {
        Copier { clusters, options, interrupt }
    }

    /// Copies one file; an existing one is overwritten, or left alone if the user wishes so.
    pub fn copy_file(&mut self, from: &Place, to: &Place) -> Outcome {
        let source = self.open_source(from)?;
        let Some(mut target) = self.open_target(&source, from, to)? else { return Ok(()) };
        let began = Instant::now();
        let bar = match self.options.progress {
            true => Progress::shown(from.last_name().unwrap_or("-").to_owned(), source.bytes(), self.interrupt.clone()),
            false => Progress::hidden(self.interrupt.clone()),
        };
        let bytes = match self.transfer(source, &mut target, &bar) {
            Ok(bytes) => bytes,
            Err(error) => {
                bar.abandon();
                return Err(incomplete(from, to, &target, &error));
            }
        };
        target.finish(from, to, !self.options.no_clobber)?;
        bar.finish();
        if self.options.verbose {
            let elapsed = began.elapsed();
            let rate = human_rate(bytes, elapsed);
            eprintln!("{from} -> {to}: {bytes} bytes ({}) in {:.3} s, {rate}", human(bytes), elapsed.as_secs_f64());
        }
        Ok(())
    }

    fn transfer(&self, source: OpenSource, target: &mut OpenTarget, bar: &Progress) -> Result<u64, TransferError> {
        let recipe = target.recipe().or(source.recipe());
        let shape = Shape::fit(self.options.block_bytes, self.options.threads, recipe);
        match (source, target) {
            (OpenSource::File { file, bytes, .. }, OpenTarget::Remote(to)) => {
                blocks::copy(&*file, to, bytes, shape, bar).map(|()| bytes)
            }
            (OpenSource::File { file, bytes, .. }, OpenTarget::Local(to)) => {
                blocks::copy(&*file, to.file(), bytes, shape, bar).map(|()| bytes)
            }
            (OpenSource::File { file, bytes, .. }, OpenTarget::Stream(to)) => {
                pipe::copy_out(&*file, bytes, to, shape, bar).map(|()| bytes)
            }
            (OpenSource::Stream(mut from), OpenTarget::Remote(to)) => pipe::copy_in(&mut from, to, shape, bar),
            (OpenSource::Stream(mut from), OpenTarget::Local(to)) => pipe::copy_in(&mut from, to.file(), shape, bar),
            (OpenSource::Stream(mut from), OpenTarget::Stream(to)) => {
                io::copy(&mut from, to).map_err(|error| TransferError::Write { offset: 0, cause: error.into() })
            }
        }
    }
}

/// A failure that says what became of the destination.
fn incomplete(from: &Place, to: &Place, target: &OpenTarget, error: &TransferError) -> Failure {
    let failure = Failure::cannot(format_args!("copy {from} to {to}"), error);
    let failure = if matches!(error, TransferError::Interrupted) { failure.interrupted() } else { failure };
    match target {
        OpenTarget::Remote(_) => {
            failure.next(format_args!("{to} is incomplete: copy again, or remove it with `pfs rm {to}`"))
        }
        OpenTarget::Local(_) => failure.next("the destination is as it was"),
        OpenTarget::Stream(_) => failure,
    }
}
