//! What file servers say of themselves in heartbeats.

use super::rates::{per_second, since};
use pfs_core::ids::ServerId;
use pfs_proto::metadata::DataCounters;
use pfs_proto::v1;
use std::collections::BTreeMap;

/// One server's last two heartbeats, in what they say together.
#[derive(Debug, Default)]
struct Server {
    instance: u64,
    heard_ms: u64,
    counters: DataCounters,
    rates: v1::TrafficRates,
}

/// All servers that were heard in this start.
#[derive(Debug, Default)]
pub(super) struct Servers(BTreeMap<ServerId, Server>);

/// Heartbeats closer than this say nothing new: one that follows an answer at once is not a measurement.
const APART_MS_MIN: u64 = 100;

impl Servers {
    pub(super) fn heard(&mut self, server: ServerId, instance: u64, counters: DataCounters, now_ms: u64) {
        let known = self.0.get(&server);
        if known.is_some_and(|known| known.instance == instance && now_ms < known.heard_ms + APART_MS_MIN) {
            return;
        }
        let rates = match known {
            Some(known) if known.instance == instance => {
                rates(known.counters, counters, now_ms.saturating_sub(known.heard_ms))
            }
            // The counts of a start that was not seen from its beginning say nothing about now.
            _ => v1::TrafficRates::default(),
        };
        self.0.insert(server, Server { instance, heard_ms: now_ms, counters, rates });
    }

    pub(super) fn of(&self, server: ServerId) -> (v1::TrafficRates, v1::DataCounters) {
        self.0.get(&server).map_or_else(Default::default, |known| (known.rates, known.counters.into()))
    }

    /// Of all that are live.
    pub(super) fn total(&self, is_live: impl Fn(ServerId) -> bool) -> v1::TrafficRates {
        let mut total = v1::TrafficRates::default();
        for (_, Server { rates, .. }) in self.0.iter().filter(|(server, _)| is_live(**server)) {
            total.read_bytes_per_s += rates.read_bytes_per_s;
            total.written_bytes_per_s += rates.written_bytes_per_s;
            total.requests_per_s += rates.requests_per_s;
            total.commits_per_s += rates.commits_per_s;
            total.failures_per_s += rates.failures_per_s;
        }
        total
    }
}

fn rates(before: DataCounters, now: DataCounters, past_ms: u64) -> v1::TrafficRates {
    let rate = |before, now| per_second(since(before, now), past_ms);
    v1::TrafficRates {
        read_bytes_per_s: rate(before.read_bytes, now.read_bytes),
        written_bytes_per_s: rate(before.written_bytes, now.written_bytes),
        requests_per_s: rate(before.reads, now.reads) + rate(before.writes, now.writes),
        commits_per_s: rate(before.commits, now.commits),
        failures_per_s: rate(before.failures, now.failures),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: ServerId = ServerId::new(1).unwrap();

    fn read(read_bytes: u64) -> DataCounters {
        DataCounters { read_bytes, ..DataCounters::default() }
    }

    #[test]
    fn rates_are_between_heartbeats_of_one_start() {
        let mut servers = Servers::default();
        servers.heard(SERVER, 1, read(1_000_000), 0);
        assert_eq!(servers.of(SERVER).0.read_bytes_per_s, 0.0, "nobody knows since when");
        servers.heard(SERVER, 1, read(4_000_000), 3_000);
        assert_eq!(servers.of(SERVER).0.read_bytes_per_s, 1_000_000.0);
        servers.heard(SERVER, 1, read(4_000_001), 3_010);
        assert_eq!(servers.of(SERVER).0.read_bytes_per_s, 1_000_000.0, "too soon to say");
        servers.heard(SERVER, 2, read(50), 3_020);
        assert_eq!(servers.of(SERVER).0.read_bytes_per_s, 0.0, "another start");
        assert_eq!(servers.of(SERVER).1.read_bytes, 50);
    }
}
