//! One look, as plain text.

use super::rows::{self, Headings, bytes_rate, rate};
use crate::output::{self, Align, Column};
use pfs_proto::v1::ActivityReply;
use std::fmt::Write;

/// The whole answer.
pub fn text(address: &str, now: &ActivityReply) -> String {
    let mut text = summary(address, now).join("\n") + "\n";
    let tables = [
        table(rows::SERVERS, now.servers.iter().map(rows::server)),
        table(rows::FILES, now.hottest_files.iter().map(rows::file)),
        table(rows::SESSIONS, now.sessions.iter().map(rows::session)),
    ];
    for table in tables {
        let _ = write!(text, "\n{table}");
    }
    text
}

/// The lines above the tables.
pub fn summary(address: &str, now: &ActivityReply) -> [String; 3] {
    let (traffic, tokens) = (now.traffic.unwrap_or_default(), now.tokens.unwrap_or_default());
    let up = now.servers.iter().filter(|server| server.live).count();
    [
        format!(
            "pfs {address}, start {}, up {}; {up} of {} file servers up; {} of {} sessions connected; {} files, {} open",
            now.boot,
            output::duration_ms(now.uptime_ms / 1000 * 1000),
            now.servers.len(),
            now.sessions_connected,
            now.sessions_open,
            now.files,
            now.open_handles,
        ),
        format!(
            "data    written {}, read {}, requests {}, commits {}, failures {}",
            bytes_rate(traffic.written_bytes_per_s),
            bytes_rate(traffic.read_bytes_per_s),
            rate(traffic.requests_per_s),
            rate(traffic.commits_per_s),
            rate(traffic.failures_per_s),
        ),
        format!(
            "tokens  requests {}, grants {}, revokes {}, acks {}, refusals {}; {} waiting, {} ranges held",
            rate(tokens.requests_per_s),
            rate(tokens.grants_per_s),
            rate(tokens.revokes_per_s),
            rate(tokens.acks_per_s),
            rate(tokens.refusals_per_s),
            tokens.waiting,
            tokens.live_ranges,
        ),
    ]
}

fn table<const N: usize>(headings: Headings<N>, cells: impl Iterator<Item = [String; N]>) -> String {
    let columns = headings.map(|(text, number)| Column(text, if number { Align::Right } else { Align::Left }));
    output::table(&columns, cells.map(Vec::from))
}
