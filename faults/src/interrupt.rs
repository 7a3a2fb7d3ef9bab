//! Ctrl-C and SIGTERM as a flag: whoever waits looks at it and returns an error, so that servers, namespaces and
//! directories are cleaned up on the way out.

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Turns signals into the flag.
pub fn install() -> Result<()> {
    let flag = INTERRUPTED.get_or_init(Default::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, flag.clone()).context("cannot install a signal handler")?;
    }
    Ok(())
}

/// An error once a signal has asked this program to end.
pub fn check() -> Result<()> {
    if INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
        bail!("interrupted by a signal");
    }
    Ok(())
}
