//! What the bytes of the files may be: every write leaves a value at each of its bytes that no other write of that byte
//! has, so a value that is read tells which write was seen.
//!
//! A write is known to be *effective* from the moment at which it was answered with success or its value was read,
//! and to have no effect any more from its *end* (success, drain, fence). It is *certain* unless its outcome is unknown, its
//! client died with it in its cache, or the disk that had it lost what was not synced. The rule for a read that began at
//! `b` and returned write `w`: there is no certain write `x` that began after `w` was effective or over, and was effective
//! before `b`. That is linearizability of each byte, for values that tell their writes.

use pfs_core::extent::Extent;

/// Bytes of a file that are accessed.
pub const FILE_BYTES: u64 = 256;
/// Bytes on one server before the next one's turn.
pub const STRIPE_UNIT: u64 = 32;
/// Most writes of one byte: its values are used up.
const VALUES_MAX: u8 = 250;

/// A time that has not come.
pub const NEVER: u64 = u64::MAX;

/// A write, as one number for all its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId(pub usize);

#[derive(Clone, Debug)]
struct Entry {
    value: u8,
    write: WriteId,
    began: u64,
    effective: u64,
    ended: u64,
    certain: bool,
    /// It is at its server: its client was told so, or another one has read it there.
    acked: bool,
    synced: bool,
    /// A disk has lost it: it is never certain again.
    lost: bool,
}

impl Entry {
    /// From when on it was surely in its place among the others.
    fn settled(&self) -> u64 {
        self.effective.min(self.ended)
    }
}

#[derive(Clone, Debug, Default)]
struct Byte {
    entries: Vec<Entry>,
    last_value: u8,
}

/// One write or truncation of a file, for sizes.
#[derive(Clone, Debug)]
struct Write {
    file: usize,
    range: Extent,
    client: usize,
    began: u64,
    effective: u64,
    /// A truncation: `range` is from the new size.
    cut: bool,
    certain: bool,
    /// Its size is with the metadata server, durably.
    size_synced: bool,
}

impl Write {
    /// One that has just begun. The size of a truncation is durable before anything is cut.
    fn new(file: usize, range: Extent, client: usize, began: u64, cut: bool) -> Self {
        Write { file, range, client, began, effective: NEVER, cut, certain: true, size_synced: cut }
    }
}

/// All files.
#[derive(Clone, Debug)]
pub struct Model {
    files: Vec<Vec<Byte>>,
    writes: Vec<Write>,
}

impl Model {
    /// Files of zeros.
    pub fn new(files: usize) -> Self {
        Model { files: vec![vec![Byte::default(); FILE_BYTES as usize]; files], writes: Vec::new() }
    }

    /// Whether the bytes can be written once more.
    pub fn has_values(&self, file: usize, range: Extent) -> bool {
        self.bytes(range).all(|at| self.files[file][at].last_value < VALUES_MAX)
    }

    /// A write begins. Returns what it must write.
    pub fn begin_write(&mut self, file: usize, range: Extent, client: usize, now: u64) -> (WriteId, Vec<u8>) {
        let write = self.begin(Write::new(file, range, client, now, false));
        let mut values = Vec::new();
        for at in self.bytes(range) {
            let byte = &mut self.files[file][at];
            byte.last_value += 1;
            values.push(byte.last_value);
            byte.entries.push(Entry::new(byte.last_value, write, now));
        }
        (write, values)
    }

    /// A truncation begins.
    pub fn begin_cut(&mut self, file: usize, size: u64, client: usize, now: u64) -> WriteId {
        let write = self.begin(Write::new(file, Extent::from(size), client, now, true));
        for at in size as usize..FILE_BYTES as usize {
            self.files[file][at].entries.push(Entry { acked: true, synced: true, ..Entry::new(0, write, now) });
        }
        write
    }

    fn begin(&mut self, write: Write) -> WriteId {
        self.writes.push(write);
        WriteId(self.writes.len() - 1)
    }

    /// The write was answered with success.
    pub fn succeed(&mut self, write: WriteId, now: u64) {
        self.writes[write.0].effective = self.writes[write.0].effective.min(now);
        self.each(write, |entry| {
            entry.effective = entry.effective.min(now);
            entry.ended = entry.ended.min(now);
        });
    }

    /// The write has failed: whether it is applied is not known, nor when.
    pub fn doubt(&mut self, write: WriteId) {
        self.writes[write.0].certain = false;
        // It may be at its server, which may lose it.
        self.each(write, |entry| (entry.certain, entry.acked) = (false, true));
    }

    /// A write of unknown outcome has no effect any more.
    pub fn end(&mut self, write: WriteId, now: u64) {
        self.each(write, |entry| entry.ended = entry.ended.min(now));
    }

    /// These bytes of the write were at their server, which may have `lost` them since.
    pub fn ack(&mut self, file: usize, range: Extent, values: &[u8], lost: bool) {
        for (at, value) in (range.start() as usize..).zip(values) {
            let Some(byte) = self.files[file].get_mut(at) else { return };
            let Some(last) = byte.entries.iter().rposition(|entry| entry.value == *value) else { continue };
            let writer = self.writes[byte.entries[last].write.0].client;
            // What its client wrote before and had in its cache was overwritten there: it goes the same way.
            for (number, entry) in byte.entries[..=last].iter_mut().enumerate() {
                let same = self.writes[entry.write.0].client == writer && entry.effective != NEVER;
                if (number == last || same) && !entry.acked {
                    entry.acked = true;
                    if lost {
                        (entry.certain, entry.lost) = (false, true);
                    }
                }
            }
        }
    }

    /// A client is gone: what it had in its cache may be lost, or may reach the disk until its fence.
    pub fn client_lost(&mut self, client: usize) -> Vec<WriteId> {
        let mut open = Vec::new();
        for number in 0..self.writes.len() {
            let write = &self.writes[number];
            if write.client != client || write.cut {
                continue;
            }
            let mut any = false;
            self.each(WriteId(number), |entry| {
                if !entry.acked && !entry.lost {
                    any = true;
                    entry.certain = false;
                    (entry.effective, entry.ended) = (NEVER, NEVER);
                }
            });
            if any {
                open.push(WriteId(number));
            }
            if !self.writes[number].size_synced {
                self.writes[number].certain = false;
            }
        }
        open
    }

    /// The written bytes in the range that wait in the client's cache are dropped with an error.
    pub fn dropped(&mut self, file: usize, range: Extent, client: usize) {
        let of_client: Vec<bool> = self.writes.iter().map(|write| write.client == client).collect();
        let mut touched = Vec::new();
        for at in self.bytes(range) {
            for entry in &mut self.files[file][at].entries {
                if of_client[entry.write.0] && !entry.acked && entry.certain {
                    // Its client may have read it before, out of its own cache: that shows nothing.
                    (entry.certain, entry.lost) = (false, true);
                    touched.push(entry.write);
                }
            }
        }
        touched.into_iter().for_each(|write| self.writes[write.0].certain = false);
    }

    /// Everything of the client's writes that was effective before `began` is on disk. What became so at the same moment, as when
    /// both waited for the end of a pause, may be of after it.
    pub fn synced(&mut self, client: usize, began: u64, file: usize) {
        for number in 0..self.writes.len() {
            let write = &mut self.writes[number];
            if write.client != client || write.file != file || write.cut || write.effective >= began {
                continue;
            }
            write.size_synced = true;
            self.each(WriteId(number), |entry| entry.synced |= entry.certain && !entry.lost);
        }
    }

    /// A disk has lost what was not synced of a byte that now has this value. An error tells what is wrong.
    pub fn disk_lost(&mut self, file: usize, at: u64, value: u8, now: u64) -> Result<(), String> {
        let byte = &mut self.files[file][at as usize];
        for entry in &mut byte.entries {
            if entry.acked && !entry.synced {
                entry.certain = false;
                entry.lost = true;
            }
        }
        let synced = |x: &Entry| x.synced && !x.lost && x.effective < now;
        let fits = |settled: u64| !byte.entries.iter().any(|x| synced(x) && x.began > settled);
        let seen = byte.entries.iter().filter(|entry| entry.value == value).any(|entry| fits(entry.settled()));
        if seen || value == 0 && fits(0) {
            return Ok(());
        }
        Err(format!("byte {at} of file {} is {value} after a crash: a synced write is lost", file + 1))
    }

    /// A client's read that began at `began` has returned these bytes. An error tells what is wrong.
    pub fn read(
        &mut self,
        (file, range): (usize, Extent),
        client: usize,
        bytes: &[u8],
        began: u64,
        now: u64,
    ) -> Result<(), String> {
        for (at, value) in (range.start()..range.end().min(FILE_BYTES)).zip(bytes) {
            self.read_byte((file, at), client, *value, began, now)?;
        }
        Ok(())
    }

    fn read_byte(
        &mut self,
        (file, at): (usize, u64),
        client: usize,
        value: u8,
        began: u64,
        now: u64,
    ) -> Result<(), String> {
        let entries = &self.files[file][at as usize].entries;
        let stale = |settled: u64| {
            let later = |x: &&Entry| x.certain && x.effective < began && x.began > settled;
            entries.iter().rev().find(later).map(|x| x.write)
        };
        let seen = entries.iter().enumerate().filter(|(_, entry)| entry.value == value && entry.began <= now);
        let mut passed: Vec<usize> = Vec::new();
        let mut newer = None;
        for (number, entry) in seen {
            match stale(entry.settled()) {
                None => passed.push(number),
                found => newer = found,
            }
        }
        let before_all = if value == 0 { stale(0) } else { None };
        let initial = value == 0 && before_all.is_none();
        if let [single] = passed[..]
            && value != 0
        {
            let entry = &mut self.files[file][at as usize].entries[single];
            // What a client has read out of its own cache shows nothing about what others see: it may have been lost with
            // the client's tokens while the read was under way.
            if entry.acked || self.writes[entry.write.0].client != client {
                entry.effective = entry.effective.min(now);
                entry.certain |= !entry.lost;
                // Others see only what is at its server, even if its client died before it was told so.
                entry.acked = true;
            }
        }
        if !passed.is_empty() || initial {
            return Ok(());
        }
        let newer = newer.or(before_all);
        let write = |id: WriteId| {
            let write = &self.writes[id.0];
            format!("C{}'s write of {} at {} us", write.client + 1, write.range, write.began)
        };
        let of =
            self.files[file][at as usize].entries.iter().find(|entry| entry.value == value).map(|e| write(e.write));
        Err(format!(
            "byte {at} of file {} was read as {value} ({}) by a read that began at {began} us, after {}",
            file + 1,
            of.unwrap_or_else(|| "never written".into()),
            newer.map_or_else(|| "nothing of the kind".into(), write)
        ))
    }

    /// A question for a file's size that was asked at `began` was answered now. An error tells what is wrong.
    pub fn size(&self, file: usize, bytes: u64, began: u64, now: u64) -> Result<(), String> {
        let writes = || self.writes.iter().filter(|write| write.file == file && write.began <= now);
        let cuts = || writes().filter(|write| write.cut);
        // A write surely counts if no truncation below its end could have come after it.
        let kept =
            |write: &&Write| write.certain && write.effective < began && !cuts().any(|cut| cut.effective > write.began);
        let least = writes().filter(|w| !w.cut).filter(kept).map(|write| write.range.end()).max().unwrap_or(0);
        let last_cut = cuts().filter(|cut| cut.certain && cut.effective < began).map(|cut| cut.began).max();
        let maybe =
            |write: &&Write| last_cut.is_none_or(|cut| write.cut && write.began >= cut || write.effective > cut);
        let end = |write: &Write| if write.cut { write.range.start() } else { write.range.end() };
        let most = writes().filter(maybe).map(end).max().unwrap_or(0);
        if bytes < least {
            return Err(format!("file {} has {bytes} bytes, but {least} were written and not cut", file + 1));
        }
        if bytes > most {
            return Err(format!("file {} has {bytes} bytes, but was cut to at most {most}", file + 1));
        }
        Ok(())
    }

    fn each(&mut self, write: WriteId, change: impl FnMut(&mut Entry)) {
        let Write { file, range, .. } = self.writes[write.0];
        let end = range.end().min(FILE_BYTES) as usize;
        if (range.start() as usize) < end {
            let bytes = &mut self.files[file][range.start() as usize..end];
            bytes.iter_mut().flat_map(|b| &mut b.entries).filter(|e| e.write == write).for_each(change);
        }
    }

    fn bytes(&self, range: Extent) -> std::ops::Range<usize> {
        range.start() as usize..range.end().min(FILE_BYTES) as usize
    }
}

impl Entry {
    fn new(value: u8, write: WriteId, began: u64) -> Self {
        Entry {
            value,
            write,
            began,
            effective: NEVER,
            ended: NEVER,
            certain: true,
            acked: false,
            synced: false,
            lost: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range() -> Extent {
        Extent::new(0, 1).expect("one byte")
    }

    #[test]
    fn an_overwritten_value_is_not_read_again() {
        let mut model = Model::new(1);
        let (first, value) = model.begin_write(0, range(), 0, 1);
        model.succeed(first, 2);
        assert_eq!(model.read((0, range()), 9, &value, 3, 4), Ok(()));
        let (second, newer) = model.begin_write(0, range(), 1, 5);
        assert_eq!(model.read((0, range()), 9, &value, 6, 7), Ok(()), "the second write has not ended");
        assert_eq!(model.read((0, range()), 9, &newer, 8, 9), Ok(()));
        assert!(model.read((0, range()), 9, &value, 10, 11).is_err(), "its value was seen");
        model.succeed(second, 12);
        assert!(model.read((0, range()), 9, &[0], 13, 14).is_err());
    }

    #[test]
    fn what_is_in_doubt_may_be_seen_or_not_until_it_was_seen() {
        let mut model = Model::new(1);
        let (first, value) = model.begin_write(0, range(), 0, 1);
        model.doubt(first);
        assert_eq!(model.read((0, range()), 9, &[0], 2, 3), Ok(()));
        assert_eq!(model.read((0, range()), 9, &value, 4, 5), Ok(()));
        assert!(model.read((0, range()), 9, &[0], 6, 7).is_err());
    }

    #[test]
    fn a_reader_s_own_lost_write_is_not_there_for_others() {
        let mut model = Model::new(1);
        let (first, value) = model.begin_write(0, range(), 0, 1);
        model.succeed(first, 2);
        assert_eq!(model.client_lost(0), [first]);
        assert_eq!(model.read((0, range()), 0, &value, 3, 5), Ok(()), "it began to read before it was given up");
        assert_eq!(model.read((0, range()), 1, &[0], 6, 7), Ok(()));
    }

    #[test]
    fn a_crash_may_lose_what_was_not_synced() {
        let mut model = Model::new(1);
        let (first, value) = model.begin_write(0, range(), 0, 1);
        model.ack(0, range(), &value, false);
        model.succeed(first, 2);
        assert_eq!(model.disk_lost(0, 0, 0, 3), Ok(()));
        assert_eq!(model.read((0, range()), 9, &[0], 4, 5), Ok(()));
        let (second, value) = model.begin_write(0, range(), 0, 6);
        model.ack(0, range(), &value, false);
        model.succeed(second, 7);
        model.synced(0, 8, 0);
        assert!(model.disk_lost(0, 0, 0, 9).is_err());
        assert_eq!(model.disk_lost(0, 0, value[0], 9), Ok(()));
    }

    #[test]
    fn a_dead_client_s_write_that_others_have_read_may_be_lost_by_its_disk() {
        let mut model = Model::new(1);
        let (first, value) = model.begin_write(0, range(), 0, 1);
        model.succeed(first, 2);
        assert_eq!(model.client_lost(0), [first]);
        model.end(first, 3);
        assert_eq!(model.read((0, range()), 1, &value, 4, 5), Ok(()), "it had reached its server");
        assert!(model.clone().read((0, range()), 1, &[0], 6, 7).is_err(), "and it stays there");
        assert_eq!(model.disk_lost(0, 0, 0, 8), Ok(()));
        assert_eq!(model.read((0, range()), 1, &[0], 9, 10), Ok(()));
    }

    #[test]
    fn a_size_is_between_what_was_surely_written_and_what_may_have_been() {
        let mut model = Model::new(1);
        let wide = Extent::new(0, 100).expect("not empty");
        let (first, _) = model.begin_write(0, wide, 0, 1);
        model.succeed(first, 2);
        assert!(model.size(0, 99, 3, 4).is_err());
        assert_eq!(model.size(0, 100, 3, 4), Ok(()));
        let cut = model.begin_cut(0, 10, 1, 5);
        model.succeed(cut, 6);
        assert_eq!(model.size(0, 10, 7, 8), Ok(()));
        assert!(model.size(0, 100, 7, 8).is_err(), "a truncation is not undone");
    }
}
