//! What happens in the cluster now, and what happened in the last minutes: for people, nothing rests on it.
//!
//! File servers tell their counts in heartbeats; the state of tokens is asked once a second. Invariants:
//! * all of it is in memory and bounded: [`HISTORY_MOMENTS`] moments, [`files::FILES_MAX`] files, one line a server;
//! * rates are differences of counts that only grow; a count that went back is of a new start and counts from 0;
//! * time is given by the caller, so that all of this can be tested without waiting.

mod files;
mod rates;
mod sampling;
mod servers;

pub(crate) use files::FileHeat;
pub(crate) use sampling::run;

use files::Files;
use parking_lot::Mutex;
use pfs_core::ids::{FileId, ServerId};
use pfs_core::token::manager::Counters;
use pfs_proto::metadata::Heartbeat;
use pfs_proto::v1;
use rates::{per_second, since};
use servers::Servers;
use std::collections::VecDeque;

/// Moments that are kept: ten minutes.
const HISTORY_MOMENTS: usize = 300;
/// Samples that make one moment.
const SAMPLES_PER_MOMENT: u32 = 2;

/// What the state of tokens says of itself at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Counts over all files.
    pub(crate) tokens: Counters,
    /// Sessions, and those that are connected.
    pub(crate) sessions: (u64, u64),
    /// Handles open now.
    pub(crate) open_handles: u64,
    /// Files that tokens were asked of since the last sample, and those that were asked about.
    pub(crate) files: Vec<FileSample>,
}

/// One file in a sample.
#[derive(Clone, Debug)]
pub(crate) struct FileSample {
    /// The file.
    pub(crate) file: FileId,
    /// The name by which it was opened last, if anybody has it open and has named it in this start.
    pub(crate) name: Option<String>,
    /// Its counts at the last sample.
    pub(crate) before: Counters,
    /// Its counts.
    pub(crate) tokens: Counters,
}

/// A moment of the past.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    at_ms: u64,
    read_bytes_per_s: f64,
    written_bytes_per_s: f64,
    token_requests_per_s: f64,
    revokes_per_s: f64,
    waiting: u64,
    sessions: u64,
}

/// All that is known of the present and the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    servers: Servers,
    files: Files,
    history: VecDeque<Moment>,
    /// The last sample, when it was made, and the rates from the one before.
    last: Option<(u64, Sample)>,
    tokens: v1::TokenRates,
    /// The counts with which the next moment begins.
    moment_begins: Option<(u64, Counters)>,
    samples: u32,
}

impl Activity {
    /// A file server's heartbeat.
    pub(crate) fn heard(&self, heartbeat: &Heartbeat, now_ms: u64) {
        let mut inside = self.inside.lock();
        inside.servers.heard(heartbeat.server, heartbeat.instance.get(), heartbeat.counters, now_ms);
        heartbeat.busiest.iter().for_each(|traffic| inside.files.heard(traffic));
    }

    /// Files whose tokens the next sample is to tell.
    pub(crate) fn files_of_interest(&self) -> Vec<FileId> {
        self.inside.lock().files.ids()
    }

    /// A sample of the state of tokens. `is_live` says which file servers are up.
    pub(crate) fn sampled(&self, sample: Sample, is_live: impl Fn(ServerId) -> bool, now_ms: u64) {
        let mut inside = self.inside.lock();
        let inside = &mut *inside;
        let before = inside.last.as_ref().map(|(at_ms, before)| (now_ms.saturating_sub(*at_ms), before.tokens));
        if let Some((past_ms, before)) = before.filter(|(past_ms, _)| *past_ms > 0) {
            inside.tokens = token_rates(before, sample.tokens, past_ms);
            inside.files.advance(&sample.files, past_ms);
        }
        inside.remember(&sample, is_live, now_ms);
        inside.last = Some((now_ms, sample));
    }

    /// The rates of the whole cluster, of tokens, the last sample, and the history, the oldest first.
    pub(crate) fn overview(&self, is_live: impl Fn(ServerId) -> bool, now_ms: u64) -> Overview {
        let inside = self.inside.lock();
        let history = inside.history.iter().map(|moment| v1::Moment {
            age_ms: now_ms.saturating_sub(moment.at_ms),
            read_bytes_per_s: moment.read_bytes_per_s,
            written_bytes_per_s: moment.written_bytes_per_s,
            token_requests_per_s: moment.token_requests_per_s,
            revokes_per_s: moment.revokes_per_s,
            waiting: moment.waiting,
            sessions: moment.sessions,
        });
        Overview {
            traffic: inside.servers.total(is_live),
            tokens: inside.tokens,
            sessions: inside.last.as_ref().map_or((0, 0), |(_, sample)| sample.sessions),
            open_handles: inside.last.as_ref().map_or(0, |(_, sample)| sample.open_handles),
            history: history.collect(),
        }
    }

    /// What the state of tokens said last, at most a second ago or a little more.
    pub(crate) fn last_sample(&self) -> Sample {
        self.inside.lock().last.as_ref().map(|(_, sample)| sample.clone()).unwrap_or_default()
    }

    /// Rates and counts of a file server.
    pub(crate) fn of_server(&self, server: ServerId) -> (v1::TrafficRates, v1::DataCounters) {
        self.inside.lock().servers.of(server)
    }

    /// The hottest files, with the names that they were opened by.
    pub(crate) fn hottest(&self, count: usize) -> Vec<FileHeat> {
        self.inside.lock().files.hottest(count)
    }
}

/// See [`Activity::overview`].
#[derive(Debug, Default)]
pub(crate) struct Overview {
    pub(crate) traffic: v1::TrafficRates,
    pub(crate) tokens: v1::TokenRates,
    pub(crate) sessions: (u64, u64),
    pub(crate) open_handles: u64,
    pub(crate) history: Vec<v1::Moment>,
}

impl Inside {
    fn remember(&mut self, sample: &Sample, is_live: impl Fn(ServerId) -> bool, now_ms: u64) {
        self.samples += 1;
        let Some((began_ms, counted)) = self.moment_begins else {
            self.moment_begins = Some((now_ms, sample.tokens));
            return;
        };
        let past_ms = now_ms.saturating_sub(began_ms);
        if !self.samples.is_multiple_of(SAMPLES_PER_MOMENT) || past_ms == 0 {
            return;
        }
        let (traffic, tokens) = (self.servers.total(is_live), token_rates(counted, sample.tokens, past_ms));
        self.moment_begins = Some((now_ms, sample.tokens));
        if self.history.len() == HISTORY_MOMENTS {
            self.history.pop_front();
        }
        self.history.push_back(Moment {
            at_ms: now_ms,
            read_bytes_per_s: traffic.read_bytes_per_s,
            written_bytes_per_s: traffic.written_bytes_per_s,
            token_requests_per_s: tokens.requests_per_s,
            revokes_per_s: tokens.revokes_per_s,
            waiting: tokens.waiting,
            sessions: sample.sessions.0,
        });
    }
}

fn token_rates(before: Counters, now: Counters, past_ms: u64) -> v1::TokenRates {
    let rate = |before, now| per_second(since(before, now), past_ms);
    v1::TokenRates {
        requests_per_s: rate(before.requests, now.requests),
        grants_per_s: rate(before.grants, now.grants),
        revokes_per_s: rate(before.revokes, now.revokes),
        acks_per_s: rate(before.acks, now.acks),
        refusals_per_s: rate(before.refusals, now.refusals),
        live_ranges: now.live_ranges,
        waiting: now.waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_core::ids::{Boot, Instance};
    use pfs_proto::metadata::{DataCounters, FileTraffic, SpaceReport};

    const SERVER: ServerId = ServerId::new(3).unwrap();
    const FILE: FileId = FileId::new(9).unwrap();

    fn heartbeat(written_bytes: u64, busiest: Vec<FileTraffic>) -> Heartbeat {
        Heartbeat {
            server: SERVER,
            instance: Instance::new(1).unwrap(),
            space: SpaceReport::default(),
            boot: Boot::new(1).unwrap(),
            fence_version: 1,
            counters: DataCounters { written_bytes, ..DataCounters::default() },
            busiest,
        }
    }

    fn sample(requests: u64) -> Sample {
        Sample { tokens: Counters { requests, ..Counters::default() }, sessions: (4, 3), ..Sample::default() }
    }

    /// Ten minutes of a steady load, and then none.
    #[test]
    fn the_history_is_of_the_last_ten_minutes() {
        let activity = Activity::default();
        for second in 0..700 {
            let busiest = vec![FileTraffic { file: FILE, read_bytes: 0, written_bytes: 500, requests: 1 }];
            activity.heard(&heartbeat(second * 500, busiest), second * 1000);
            activity.sampled(sample(second * 7), |_| true, second * 1000);
        }
        let overview = activity.overview(|_| true, 700_000);
        assert_eq!(overview.history.len(), HISTORY_MOMENTS);
        assert!(overview.history.iter().all(|moment| moment.written_bytes_per_s == 500.0));
        assert!(overview.history.iter().all(|moment| moment.token_requests_per_s == 7.0 && moment.sessions == 4));
        assert_eq!((overview.history[0].age_ms, overview.history[299].age_ms), (599_000, 1_000));
        assert_eq!((overview.traffic.written_bytes_per_s, overview.tokens.requests_per_s), (500.0, 7.0));
        let hottest = activity.hottest(5);
        assert_eq!((hottest.len(), hottest[0].file), (1, FILE));
        assert!((hottest[0].written_bytes_per_s - 500.0).abs() < 1.0, "{hottest:?}");

        // A server that is down does nothing, whatever its last rate was.
        assert_eq!(activity.overview(|_| false, 700_000).traffic, v1::TrafficRates::default());
        for second in 700..900 {
            activity.heard(&heartbeat(699 * 500, Vec::new()), second * 1000);
            activity.sampled(sample(699 * 7), |_| true, second * 1000);
        }
        assert_eq!(activity.overview(|_| true, 900_000).traffic, v1::TrafficRates::default());
        assert!(activity.hottest(5).is_empty(), "what cools down is forgotten");
    }

    #[test]
    fn the_first_sample_says_no_rate() {
        let activity = Activity::default();
        activity.sampled(sample(1_000_000), |_| true, 5_000);
        assert_eq!(activity.overview(|_| true, 5_000).tokens, v1::TokenRates::default());
        activity.sampled(sample(1_000_010), |_| true, 6_000);
        assert_eq!(activity.overview(|_| true, 6_000).tokens.requests_per_s, 10.0);
    }
}
