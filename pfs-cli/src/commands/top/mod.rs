//! `pfs top`: what happens in a cluster, again and again.

mod live;
mod rows;
mod screen;
mod text;

use crate::connection::{Cluster, Connection, cannot};
use crate::failure::{Failure, Outcome};
use crate::output;
use clap::Args;
use pfs_proto::v1::{ActivityReply, ActivityRequest};
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Show what happens now: servers, throughput, sessions, token traffic, the hottest and most contended files
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: q ends, p holds the picture, h, b, t and c order files by heat, bytes, token requests and contention.

With --json: one object a line, with the fields of ActivityReply in proto/pfs/v1/activity.proto:
{cluster_id, boot, uptime_ms, files, directories, open_handles, sessions_open, sessions_connected,
traffic: {read_bytes_per_s, written_bytes_per_s, requests_per_s, commits_per_s, failures_per_s},
tokens: {requests_per_s, grants_per_s, revokes_per_s, acks_per_s, refusals_per_s, live_ranges, waiting},
servers: [{server_id, name, address, live, heartbeat_age_ms, total_bytes, free_bytes, objects, traffic, counters}],
hottest_files: [{file_id, path, read_bytes_per_s, written_bytes_per_s, requests_per_s, token_requests_per_s,
revokes_per_s, waiting, live_ranges}],
sessions: [{client_id, client_name, connected, age_ms, token_requests, token_requests_waiting, cache}],
history: [{age_ms, read_bytes_per_s, written_bytes_per_s, token_requests_per_s, revokes_per_s, waiting, sessions}]}.
Rates of servers are between their last two heartbeats, those of files are smoothed over some seconds.
`traffic` of a server that is down is null. This command is a session itself.")]
pub struct Flags {
    /// Ask once, print plain text or JSON, and end
    #[arg(long)]
    once: bool,

    /// Answer as JSON, one object a line
    #[arg(long)]
    json: bool,

    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    interval: f64,

    /// Most files to show
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1000))]
    files: u32,

    /// Most sessions to show, those with most token requests first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    sessions: u32,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    if !flags.once && !flags.json && !io::stdout().is_terminal() {
        let problem = "standard output is no terminal";
        return Err(Failure::because("draw a live view", problem).next("use --once for text, or --json"));
    }
    let cluster = connection.open(None)?;
    let request = ActivityRequest {
        files_max: flags.files,
        sessions_max: flags.sessions,
        with_history: !flags.once || flags.json,
    };
    let interval = Duration::from_secs_f64(flags.interval);
    match (flags.json, flags.once) {
        (true, once) => print_lines(&cluster, request, interval, once),
        (false, true) => output::print(&text::text(&cluster.address, &ask(&cluster, request)?)),
        (false, false) => live::run(cluster, request, interval),
    }
}

fn ask(cluster: &Cluster, request: ActivityRequest) -> Result<ActivityReply, Failure> {
    let reply = cluster.client.activity(request);
    reply.map_err(|error| cannot(format_args!("ask {} what happens", cluster.address), &error))
}

/// One object a line, until the reader goes away or a signal comes.
fn print_lines(cluster: &Cluster, request: ActivityRequest, interval: Duration, once: bool) -> Outcome {
    let (tell, told) = mpsc::channel::<()>();
    live::on_signal(move || drop(tell)).map_err(|error| Failure::cannot("wait for signals", &error))?;
    loop {
        let line = serde_json::to_string(&ask(cluster, request)?)
            .map_err(|error| Failure::cannot("write the answer as JSON", &error))?;
        let mut out = io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::cannot("write standard output", &error)),
            Ok(()) if once => return Ok(()),
            Ok(()) => {}
        }
        drop(out);
        if told.recv_timeout(interval) == Err(RecvTimeoutError::Disconnected) {
            return Ok(());
        }
    }
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds between 0.1 and 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_bounds() {
        assert_eq!(interval("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "nan", "inf", "1e9", "x", ""] {
            assert!(interval(wrong).is_err(), "{wrong} was taken");
        }
    }
}
