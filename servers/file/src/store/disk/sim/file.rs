//! What of one file is durable, what is not, and what a loss of power may leave.

use super::platter::Chance;
use super::sectors::{Contents, SECTOR_BYTES, Sector, cut_sector, numbers};
use std::collections::{BTreeMap, BTreeSet};

/// One file.
#[derive(Clone, Debug, Default)]
pub(super) struct PlatterFile {
    durable: Contents,
    now: Contents,
    /// What a sector was after each write since the last sync, with the write's time.
    sectors: BTreeMap<u64, Vec<(u64, Sector)>>,
    /// Truncations since the last sync: time and length.
    set: Vec<(u64, u64)>,
    /// Lengths that writes since the last sync have grown: time and length.
    grown: Vec<(u64, u64)>,
}

impl PlatterFile {
    pub(super) fn of(contents: Contents) -> Self {
        PlatterFile { durable: contents.clone(), now: contents, ..PlatterFile::default() }
    }

    pub(super) fn write(&mut self, time: u64, offset: u64, bytes: &[u8]) {
        let before = self.now.length();
        self.now.write(bytes, offset);
        if self.now.length() > before {
            self.grown.push((time, self.now.length()));
        }
        self.note(time, offset, bytes.len() as u64);
    }

    pub(super) fn punch(&mut self, time: u64, offset: u64, length: u64) {
        let length = length.min(self.now.length().saturating_sub(offset));
        self.now.punch(offset, length);
        self.note(time, offset, length);
    }

    pub(super) fn set_length(&mut self, time: u64, length: u64) {
        self.now.set_length(length);
        self.set.push((time, length));
    }

    pub(super) fn sync(&mut self) {
        *self = PlatterFile::of(std::mem::take(&mut self.now));
    }

    fn note(&mut self, time: u64, offset: u64, length: u64) {
        for number in numbers(offset, length) {
            self.sectors.entry(number).or_default().push((time, self.now.sector(number)));
        }
    }

    pub(super) fn after_power_loss(&self, chance: &mut Chance<'_>) -> Contents {
        let (set, not_set) = self.set.split_at(chance.steps(self.set.len()));
        let mut left = Contents::default();
        let numbers: BTreeSet<u64> = self.durable.sector_numbers().chain(self.sectors.keys().copied()).collect();
        for number in numbers {
            left.put(number, self.sector_after(number, set, not_set, chance));
        }
        left.set_length(self.length_after(set, not_set, chance));
        left
    }

    /// A sector after any of its writes, as far as no lost truncation came before it, and after the truncations since.
    fn sector_after(&self, number: u64, set: &[(u64, u64)], not_set: &[(u64, u64)], chance: &mut Chance<'_>) -> Sector {
        let reaches = |&&(_, length): &&(u64, u64)| length < (number + 1) * SECTOR_BYTES;
        let until = not_set.iter().find(reaches).map_or(u64::MAX, |cut| cut.0);
        let versions = self.sectors.get(&number).map_or(&[][..], Vec::as_slice);
        let possible = versions.partition_point(|version| version.0 < until);
        let (time, mut sector) = match chance.steps(possible) {
            0 => (0, self.durable.sector(number)),
            steps => versions[steps - 1].clone(),
        };
        let cuts = set.iter().filter(|cut| cut.0 > time);
        cuts.for_each(|cut| cut_sector(&mut sector, number, cut.1));
        sector
    }

    /// The last length that was set, or any that writes have grown it to since.
    fn length_after(&self, set: &[(u64, u64)], not_set: &[(u64, u64)], chance: &mut Chance<'_>) -> u64 {
        let (time, length) = set.last().copied().unwrap_or((0, self.durable.length()));
        let until = not_set.first().map_or(u64::MAX, |cut| cut.0);
        let grown: Vec<u64> = self.grown.iter().filter(|at| (time..until).contains(&at.0)).map(|at| at.1).collect();
        match chance.steps(grown.len()) {
            0 => length,
            steps => {
                let from = if steps == 1 { length } else { grown[steps - 2] };
                let sectors = grown[steps - 1].div_ceil(SECTOR_BYTES) - from / SECTOR_BYTES;
                let end = (from / SECTOR_BYTES + chance.up_to(sectors)) * SECTOR_BYTES;
                end.clamp(from, grown[steps - 1])
            }
        }
    }
}
