//! Which files are hot: by bytes at file servers, and by tokens.
//!
//! Invariant: at most [`FILES_MAX`] files are kept, the hottest; one that has cooled down is forgotten.

use super::FileSample;
use super::rates::{Smooth, since};
use pfs_core::ids::FileId;
use pfs_core::token::manager::Counters;
use pfs_proto::metadata::FileTraffic;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Files that are kept.
pub(super) const FILES_MAX: usize = 512;
/// Bytes of a rate that count as nothing.
const COLD_BYTES_PER_S: f64 = 1.0;
/// Requests of a rate that count as nothing.
const COLD_REQUESTS_PER_S: f64 = 0.01;
/// One token request or revoke weighs as much as so many bytes.
const REQUEST_BYTES: f64 = 65_536.0;

/// A file now.
#[derive(Clone, Debug, Default)]
struct File {
    /// Since the last sample, from heartbeats.
    heard: Heard,
    read_bytes: Smooth,
    written_bytes: Smooth,
    requests: Smooth,
    token_requests: Smooth,
    revokes: Smooth,
    tokens: Option<Counters>,
    name: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    read_bytes: u64,
    written_bytes: u64,
    requests: u64,
}

/// A file's rates, for whoever asks.
#[derive(Clone, Debug)]
pub(crate) struct FileHeat {
    pub(crate) file: FileId,
    /// The name by which it was opened last, which may have become another file's.
    pub(crate) name: Option<String>,
    pub(crate) read_bytes_per_s: f64,
    pub(crate) written_bytes_per_s: f64,
    pub(crate) requests_per_s: f64,
    pub(crate) token_requests_per_s: f64,
    pub(crate) revokes_per_s: f64,
    pub(crate) waiting: u64,
    pub(crate) live_ranges: u64,
}

/// All hot files.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<FileId, File>);

impl File {
    fn heat(&self) -> f64 {
        let bytes =
            self.read_bytes.0 + self.written_bytes.0 + (self.heard.read_bytes + self.heard.written_bytes) as f64;
        let waiting = self.tokens.map_or(0, |tokens| tokens.waiting) as f64;
        bytes + (self.token_requests.0 + self.revokes.0 + waiting) * REQUEST_BYTES
    }

    fn is_cold(&self) -> bool {
        let Heard { read_bytes, written_bytes, requests } = self.heard;
        let waiting = self.tokens.map_or(0, |tokens| tokens.waiting);
        (read_bytes, written_bytes, requests, waiting) == (0, 0, 0, 0)
            && [self.read_bytes, self.written_bytes].iter().all(|rate| rate.0 < COLD_BYTES_PER_S)
            && [self.requests, self.token_requests, self.revokes].iter().all(|rate| rate.0 < COLD_REQUESTS_PER_S)
    }
}

impl Files {
    pub(super) fn ids(&self) -> Vec<FileId> {
        self.0.keys().copied().collect()
    }

    /// A file server's word on a file.
    pub(super) fn heard(&mut self, traffic: &FileTraffic) {
        let heard = &mut self.0.entry(traffic.file).or_default().heard;
        heard.read_bytes = heard.read_bytes.saturating_add(traffic.read_bytes);
        heard.written_bytes = heard.written_bytes.saturating_add(traffic.written_bytes);
        heard.requests = heard.requests.saturating_add(traffic.requests);
    }

    /// So much time has passed, and these are the files' tokens now.
    pub(super) fn advance(&mut self, samples: &[FileSample], past_ms: u64) {
        for sample in samples {
            let file = self.0.entry(sample.file).or_default();
            // One that is new here may have been known before, and have cooled down.
            let before = file.tokens.unwrap_or(sample.before);
            file.token_requests.add(since(before.requests, sample.tokens.requests), past_ms);
            file.revokes.add(since(before.revokes, sample.tokens.revokes), past_ms);
            file.tokens = Some(sample.tokens);
            if sample.name.is_some() {
                file.name.clone_from(&sample.name);
            }
        }
        for file in self.0.values_mut() {
            let Heard { read_bytes, written_bytes, requests } = std::mem::take(&mut file.heard);
            file.read_bytes.add(read_bytes, past_ms);
            file.written_bytes.add(written_bytes, past_ms);
            file.requests.add(requests, past_ms);
        }
        self.0.retain(|_, file| !file.is_cold());
        self.bound();
    }

    fn bound(&mut self) {
        if self.0.len() > FILES_MAX {
            let kept: BTreeMap<FileId, File> =
                self.by_heat().take(FILES_MAX).map(|(id, file)| (id, file.clone())).collect();
            self.0 = kept;
        }
    }

    fn by_heat(&self) -> impl Iterator<Item = (FileId, &File)> {
        let mut files: Vec<(FileId, &File)> = self.0.iter().map(|(id, file)| (*id, file)).collect();
        // Heats are sums of numbers that are none of them negative or infinite, so whole numbers order them.
        files.sort_by_key(|(id, file)| (Reverse(file.heat() as u64), *id));
        files.into_iter()
    }

    /// The hottest first.
    pub(super) fn hottest(&self, count: usize) -> Vec<FileHeat> {
        let heat = |(id, file): (FileId, &File)| FileHeat {
            file: id,
            name: file.name.clone(),
            read_bytes_per_s: file.read_bytes.0,
            written_bytes_per_s: file.written_bytes.0,
            requests_per_s: file.requests.0,
            token_requests_per_s: file.token_requests.0,
            revokes_per_s: file.revokes.0,
            waiting: file.tokens.map_or(0, |tokens| tokens.waiting),
            live_ranges: file.tokens.map_or(0, |tokens| tokens.live_ranges),
        };
        self.by_heat().take(count).map(heat).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> FileId {
        FileId::new(number).unwrap()
    }

    #[test]
    fn the_hottest_come_first_and_the_coldest_go() {
        let mut files = Files::default();
        for number in 1..=2 * FILES_MAX as u64 {
            files.heard(&FileTraffic { file: id(number), read_bytes: number * 1000, written_bytes: 0, requests: 1 });
        }
        let tokens = Counters { requests: 5000, revokes: 4000, waiting: 2, live_ranges: 7, ..Counters::default() };
        let before = Counters::default();
        files.advance(&[FileSample { file: id(1), name: Some("/hot".into()), before, tokens }], 1000);
        let hottest = files.hottest(3);
        assert_eq!(hottest[0].name.as_deref(), Some("/hot"), "contention is heat, too");
        assert_eq!((hottest[0].waiting, hottest[0].live_ranges), (2, 7));
        assert!(hottest[0].revokes_per_s > 500.0);
        assert_eq!((hottest[1].file, hottest[2].file), (id(1024), id(1023)));
        assert_eq!(files.hottest(10_000).len(), FILES_MAX);
    }

    /// A request that waits is the very thing to be looked at, however long nothing else happens.
    #[test]
    fn a_file_that_somebody_waits_for_stays() {
        let mut files = Files::default();
        let sample = |waiting| {
            let tokens = Counters { requests: 2, waiting, ..Counters::default() };
            [FileSample { file: id(1), name: None, before: Counters::default(), tokens }]
        };
        (0..1000).for_each(|_| files.advance(&sample(1), 1000));
        assert_eq!(files.hottest(1)[0].waiting, 1);
        for _ in 0..100 {
            // As the state of tokens does it: nothing was asked for, so only what is kept is told of.
            let samples: Vec<FileSample> =
                sample(0).into_iter().filter(|told| files.ids().contains(&told.file)).collect();
            files.advance(&samples, 1000);
        }
        assert!(files.hottest(1).is_empty());
    }

    /// Its requests are counted as long as somebody has it open, so also while it is cold and nobody looks at it.
    #[test]
    fn a_file_that_comes_back_counts_from_where_it_was() {
        let mut files = Files::default();
        let counters = |requests, revokes| Counters { requests, revokes, ..Counters::default() };
        let sample = |before, tokens| [FileSample { file: id(1), name: None, before, tokens }];
        files.advance(&sample(counters(0, 0), counters(5000, 4000)), 1000);
        let cooled = counters(5000, 4000);
        (0..100).for_each(|_| files.advance(&sample(cooled, cooled), 1000));
        files.advance(&[], 1000);
        assert!(files.hottest(1).is_empty());
        files.advance(&sample(cooled, counters(5006, 4003)), 1000);
        let heat = &files.hottest(1)[0];
        assert!(heat.token_requests_per_s <= 6.0 && heat.revokes_per_s <= 3.0, "{heat:?}");
        assert!(heat.token_requests_per_s > 0.0 && heat.revokes_per_s > 0.0, "{heat:?}");
    }

    /// A file server tells of it, and all its tokens were asked for long ago.
    #[test]
    fn a_file_that_is_only_written_again_asks_for_no_tokens() {
        let mut files = Files::default();
        let tokens = Counters { requests: 5000, revokes: 4000, ..Counters::default() };
        files.heard(&FileTraffic { file: id(1), read_bytes: 0, written_bytes: 1000, requests: 1 });
        files.advance(&[FileSample { file: id(1), name: None, before: tokens, tokens }], 1000);
        let heat = &files.hottest(1)[0];
        assert!(heat.written_bytes_per_s > 0.0);
        assert_eq!((heat.token_requests_per_s, heat.revokes_per_s), (0.0, 0.0));
    }
}
