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
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref(), default_filter)?;
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Text => events.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => events.json().try_init(),
    };
    set.map_err(|error| anyhow::anyhow!(error)).context("logging is set up already")
}

fn filter(variable: Option<&str>, default_filter: &str) -> anyhow::Result<EnvFilter> {
    let text = variable.filter(|text| !text.is_empty()).unwrap_or(default_filter);
    EnvFilter::try_new(text)
        .with_context(|| format!("the log filter {text:?} is wrong; write for example info,pfs_file_server=debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_goes_before_the_default() {
        assert_eq!(filter(None, "info").unwrap().to_string(), "info");
        assert_eq!(filter(Some(""), "info").unwrap().to_string(), "info");
        assert_eq!(filter(Some("pfs=debug"), "info").unwrap().to_string(), "pfs=debug");
        let error = filter(Some("pfs=loud"), "info").unwrap_err().to_string();
        assert!(error.contains("\"pfs=loud\""), "{error}");
    }
}
