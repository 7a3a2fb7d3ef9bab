//! Logging to standard error.

use anyhow::Context;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Sends events to standard error: those that `RUST_LOG` names, or `default_filter` (like `info` or
/// `info,pfs_file_server=debug`) when it is not set. An error when the filter is wrong or logging was set up before.
pub fn init_logging(default_filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let text = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let text = text.as_deref().unwrap_or(default_filter);
    let filter = EnvFilter::try_new(text)
        .with_context(|| format!("the log filter {text:?} is wrong; write for example info,pfs_file_server=debug"))?;
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Text => events.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => events.json().try_init(),
    };
    set.map_err(|error| anyhow::anyhow!(error)).context("logging is set up already")
}
