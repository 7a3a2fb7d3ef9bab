//! The progress of a copy: counted, shown on a terminal with the throughput, and the place where Ctrl-C is noticed.

use super::TransferError;
use super::interrupt::Interrupt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const BAR: &str = "{prefix} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
const COUNTER: &str = "{prefix} {spinner} {binary_bytes} {binary_bytes_per_sec}";

/// How far a copy is.
pub struct Progress {
    bar: ProgressBar,
    interrupt: Interrupt,
}

impl Progress {
    /// A bar for `bytes` bytes, or a counter when nobody knows how many there will be. Without a terminal it shows
    /// nothing.
    pub fn shown(name: String, bytes: Option<u64>, interrupt: Interrupt) -> Self {
        let template = if bytes.is_some() { BAR } else { COUNTER };
        let style = ProgressStyle::with_template(template).expect("the template is a constant").progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr());
        Progress { bar: bar.with_style(style).with_prefix(name), interrupt }
    }

    /// Never shows anything.
    pub fn hidden(interrupt: Interrupt) -> Self {
        Progress { bar: ProgressBar::hidden(), interrupt }
    }

    /// Counts bytes that have arrived; an error when the user wants no more of them.
    pub fn moved(&self, bytes: usize) -> Result<(), TransferError> {
        self.bar.inc(bytes as u64);
        self.check()
    }

    /// An error when the user does not want the copy any more.
    pub fn check(&self) -> Result<(), TransferError> {
        if self.interrupt.is_requested() { Err(TransferError::Interrupted) } else { Ok(()) }
    }

    /// Leaves the whole bar on the terminal.
    pub fn finish(&self) {
        self.bar.finish();
    }

    /// Leaves the bar as it is.
    pub fn abandon(&self) {
        self.bar.abandon();
    }
}
