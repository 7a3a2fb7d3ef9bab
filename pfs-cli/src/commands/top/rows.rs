//! Cells of tables, the same in plain text and on the screen.

use crate::output;
use crate::sizes;
use pfs_proto::v1::{FileActivity, ServerActivity, SessionActivity};

/// A table's headings: text, and whether its cells are numbers.
pub type Headings<const N: usize> = [(&'static str, bool); N];

pub const SERVERS: Headings<8> = [
    ("FILE SERVER", false),
    ("STATE", false),
    ("FREE", true),
    ("WRITTEN", true),
    ("READ", true),
    ("REQUESTS", true),
    ("COMMITS", true),
    ("FAILURES", true),
];

pub const FILES: Headings<8> = [
    ("FILE", false),
    ("WRITTEN", true),
    ("READ", true),
    ("REQUESTS", true),
    ("TOKENS", true),
    ("REVOKES", true),
    ("WAITING", true),
    ("RANGES", true),
];

pub const SESSIONS: Headings<7> = [
    ("CLIENT", true),
    ("NAME", false),
    ("STREAM", false),
    ("AGE", true),
    ("TOKENS", true),
    ("WAITING", true),
    ("DIRTY", true),
];

pub fn server(server: &ServerActivity) -> [String; 8] {
    let traffic = server.traffic.unwrap_or_default();
    let state = match server.live {
        true => "up".to_owned(),
        false => format!("down {}", output::duration_ms(server.heartbeat_age_ms / 1000 * 1000)),
    };
    [
        server.name.clone(),
        state,
        sizes::human(server.free_bytes),
        bytes_rate(traffic.written_bytes_per_s),
        bytes_rate(traffic.read_bytes_per_s),
        rate(traffic.requests_per_s),
        rate(traffic.commits_per_s),
        rate(traffic.failures_per_s),
    ]
}

pub fn file(file: &FileActivity) -> [String; 8] {
    [
        if file.path.is_empty() { format!("(file {})", file.file_id) } else { file.path.clone() },
        bytes_rate(file.written_bytes_per_s),
        bytes_rate(file.read_bytes_per_s),
        rate(file.requests_per_s),
        rate(file.token_requests_per_s),
        rate(file.revokes_per_s),
        file.waiting.to_string(),
        file.live_ranges.to_string(),
    ]
}

pub fn session(session: &SessionActivity) -> [String; 7] {
    [
        session.client_id.to_string(),
        session.client_name.clone(),
        if session.connected { "connected" } else { "broken" }.to_owned(),
        output::duration_ms(session.age_ms / 1000 * 1000),
        session.token_requests.to_string(),
        session.token_requests_waiting.to_string(),
        session.cache.map_or_else(|| "-".to_owned(), |cache| sizes::human(cache.dirty_bytes)),
    ]
}

/// Bytes a second.
pub fn bytes_rate(bytes_per_s: f64) -> String {
    // Rates are finite and not negative; less than a byte is nothing.
    match bytes_per_s as u64 {
        0 => "-".to_owned(),
        bytes => format!("{}/s", sizes::human(bytes)),
    }
}

/// Events a second.
pub fn rate(per_s: f64) -> String {
    match per_s {
        none if none < 0.05 => "-".to_owned(),
        few if few < 100.0 => format!("{few:.1}/s"),
        many => format!("{many:.0}/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short() {
        assert_eq!([0.0, 0.04, 7.25, 99.94, 12_345.6].map(rate), ["-", "-", "7.2/s", "99.9/s", "12346/s"]);
        assert_eq!(bytes_rate(0.9), "-");
        assert_eq!(bytes_rate(1024.0 * 1024.0), "1.00 MiB/s");
    }
}
