//! Two jobs that write overlapping ranges of one file at the same time, round after round.
//!
//! After each round the file must look as if the writes had been made one after the other, each whole: independent
//! writes one by one, a collective write of a job as one. A lost token, a grant before the last ack, a write that goes
//! on after its token was given up: each would leave a mixture that no order explains.

mod support;

use anyhow::{Context, Result, bail, ensure};
use pfs_client::OpenOptions;
use pfs_client::blocking::File;
use pfs_core::extent::Extent;
use pfs_core::path::PfsPath;
use pfs_examples::pattern;
use pfs_testkit::ProcessCluster;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use support::{Ranks, Traffic, client};

/// Bytes of the file.
const FILE_BYTES: u64 = 512 << 10;
/// All writes of a round are in a window of this many bytes: several stripe units on several servers.
const WINDOW_BYTES: u64 = 200_000;
/// How long the ranks may take to connect, and to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn only_whole_writes_in_some_order_explain_the_bytes() -> Result<()> {
    only_whole_writes(&[], number("PFS_TEST_ROUNDS", 1000))
}

/// The same with every rank as a holder of its own, and collectives of which each takes the tokens of all ranks at once.
#[test]
fn and_in_atomic_mode_too() -> Result<()> {
    only_whole_writes(&["--atomic"], number("PFS_TEST_ROUNDS", 1000) / 4)
}

fn only_whole_writes(options: &[&str], rounds: u64) -> Result<()> {
    let cluster = ProcessCluster::builder(4).stripe_unit(65536).start_processes()?;
    let seed = number("PFS_TEST_SEED", 1);
    let mut random = Random(seed);
    let mut jobs =
        Jobs::launch(&cluster, 2, options, Duration::from_secs(120) + Duration::from_millis(400) * rounds as u32)?;
    let client = client(&cluster)?;
    let file = client.open(&PfsPath::parse("/shared")?, &OpenOptions::default())?;
    let before = Traffic::of(&client)?;
    let mut model = vec![0; FILE_BYTES as usize];
    let mut orders = 0;
    for round in 0..rounds {
        let writes = random_round(&mut random, round);
        jobs.write(&writes, 1)?;
        let actual = read_all(&file)?;
        let checked = check_round(&model, &actual, &writes);
        orders += checked.with_context(|| format!("round {round} with PFS_TEST_SEED={seed}: {writes:#?}"))?;
        model = actual;
    }
    let traffic = Traffic::of(&client)?.since(before);
    println!("{rounds} rounds, {orders} overlaps, {traffic:?}");
    ensure!(traffic.revokes >= rounds, "the jobs did not get into each other's way: {traffic:?}");
    jobs.end()?;
    cluster.stop()
}

/// Two processes that want the same range all the time both get it, again and again.
#[test]
fn a_range_goes_back_and_forth_between_two_processes() -> Result<()> {
    const TURNS: u64 = 100;
    // More than a cache collects, so that writes take long enough to be at once.
    const LENGTH: u64 = 512 << 10;
    let cluster = ProcessCluster::start(2)?;
    let client = client(&cluster)?;
    let mut jobs = Jobs::launch(&cluster, 1, &[], Duration::from_secs(240))?;
    let write = |job: usize, seed: u64| WriteOf { job, rank: 0, collective: false, offset: 0, length: LENGTH, seed };

    let before = Traffic::of(&client)?;
    for turn in 0..TURNS {
        jobs.write(&[write((turn % 2) as usize, turn)], 1)?;
    }
    let in_turns = Traffic::of(&client)?.since(before).revokes;
    ensure!(in_turns >= TURNS - 1, "only {in_turns} hand-overs in {TURNS} turns");

    let before = Traffic::of(&client)?;
    let both = [write(0, 1000), write(1, 2000)];
    jobs.write(&both, 300)?;
    let at_once = Traffic::of(&client)?.since(before).revokes;
    println!("{in_turns} hand-overs in {TURNS} turns, {at_once} while both wrote 300 times at once");
    ensure!(at_once >= 10, "only {at_once} hand-overs while both wrote at once");

    let file = client.open(&PfsPath::parse("/shared")?, &OpenOptions::default())?;
    let actual = read_all(&file)?;
    let whole = |seed| pattern::first_wrong(seed, 0, &actual).is_none();
    ensure!(actual.len() as u64 == LENGTH && (whole(1000) || whole(2000)), "the last write is not whole");
    jobs.end()?;
    cluster.stop()
}

fn number(variable: &str, default: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % limit
    }
}

/// One rank's part of a round.
#[derive(Clone, Copy, Debug)]
struct WriteOf {
    job: usize,
    rank: usize,
    collective: bool,
    offset: u64,
    length: u64,
    seed: u64,
}

impl WriteOf {
    fn extent(&self) -> Option<Extent> {
        Extent::new(self.offset, self.offset + self.length)
    }
}

/// Two disjoint ranges for the ranks of each job, all in one window.
fn random_round(random: &mut Random, round: u64) -> Vec<WriteOf> {
    let base = random.below(FILE_BYTES - WINDOW_BYTES);
    let mut writes = Vec::new();
    for job in 0..2 {
        let collective = random.below(2) == 0;
        let mut cuts: Vec<u64> = (0..4).map(|_| base + random.below(WINDOW_BYTES)).collect();
        cuts.sort_unstable();
        // The ranks in either order.
        let mut pairs = [(cuts[0], cuts[1]), (cuts[2], cuts[3])];
        if random.below(2) == 0 {
            pairs.swap(0, 1);
        }
        for (rank, (start, end)) in (0..).zip(pairs) {
            let seed = 1 + round * 4 + job as u64 * 2 + rank as u64;
            writes.push(WriteOf { job, rank, collective, offset: start, length: end - start, seed });
        }
    }
    writes
}

/// The whole file; bytes behind its end are zeros.
fn read_all(file: &File) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.size()?)?];
    let length = file.read_at(&mut bytes, 0)?;
    ensure!(length == bytes.len(), "read {length} of {} bytes", bytes.len());
    Ok(bytes)
}

/// Whether some order of whole writes leads from `before` to `after`. Returns how many overlaps there were.
fn check_round(before: &[u8], after: &[u8], writes: &[WriteOf]) -> Result<usize> {
    let mut before = before.to_vec();
    before.resize(after.len(), 0);
    let hull = writes.iter().filter_map(WriteOf::extent).reduce(Extent::hull).context("a round has writes")?;
    let (start, end) = (hull.start() as usize, hull.end() as usize);
    ensure!(after.len() >= end, "the file has {} bytes after writes up to {end}", after.len());
    ensure!(before[..start] == after[..start] && before[end..] == after[end..], "bytes outside of {hull} changed");
    for (at, &actual) in (hull.start()..).zip(&after[start..end]) {
        let mut covering = writes.iter().filter(|write| (write.offset..write.offset + write.length).contains(&at));
        let expected = match (covering.next(), covering.next()) {
            (None, _) => before[at as usize],
            (Some(write), None) => pattern::byte(write.seed, at),
            (Some(_), Some(_)) => continue,
        };
        ensure!(actual == expected, "the byte at {at} is {actual} and should be {expected}");
    }
    let mut later = Vec::new();
    let mut overlaps = 0;
    for (i, one) in writes.iter().enumerate() {
        for (j, other) in writes.iter().enumerate().skip(i + 1) {
            let Some(both) = one.extent().zip(other.extent()).and_then(|(a, b)| a.intersection(b)) else { continue };
            overlaps += 1;
            let bytes = &after[both.start() as usize..both.end() as usize];
            let is = |write: &WriteOf| pattern::first_wrong(write.seed, both.start(), bytes).is_none();
            match (is(one), is(other)) {
                (true, true) => {}
                (true, false) => later.push((unit(writes, j), unit(writes, i))),
                (false, true) => later.push((unit(writes, i), unit(writes, j))),
                (false, false) => bail!("{both} is neither {one:?} nor {other:?}: the writes are mixed"),
            }
        }
    }
    ensure!(has_order(&later), "no order of whole writes explains who came last: {later:?}");
    Ok(overlaps)
}

/// What is whole: an independent write, or all writes of a job's collective.
fn unit(writes: &[WriteOf], index: usize) -> usize {
    let write = writes[index];
    if !write.collective {
        return index;
    }
    writes.iter().position(|other| other.job == write.job).unwrap_or(index)
}

/// Whether pairs of (earlier, later) fit one order: as long as there are pairs, something is in no pair's second place.
fn has_order(pairs: &[(usize, usize)]) -> bool {
    let mut rest = pairs.to_vec();
    while let Some(first) = rest.iter().map(|pair| pair.0).find(|unit| rest.iter().all(|pair| pair.1 != *unit)) {
        rest.retain(|pair| pair.0 != first);
    }
    rest.is_empty()
}

/// Two jobs and the connections to their ranks.
struct Jobs {
    groups: Vec<Ranks>,
    connections: BTreeMap<(usize, usize), Connection>,
}

struct Connection {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl Jobs {
    fn launch(cluster: &ProcessCluster, ranks: u32, options: &[&str], limit: Duration) -> Result<Jobs> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.to_string();
        let arguments = [&["--file", "pfs:/shared", "--coordinator", &address], options].concat();
        let mut jobs = Jobs { groups: Vec::new(), connections: BTreeMap::new() };
        for job in 0..2 {
            // One after the other: which connection is which job's is known.
            let group = Ranks::launch(cluster, ranks, env!("CARGO_BIN_EXE_overlap_writer"), &arguments)?;
            jobs.groups.push(group.within(limit));
            let accepted: Result<Vec<Connection>> = (0..ranks).map(|_| Connection::accept(&listener)).collect();
            for mut connection in accepted? {
                let line = connection.line()?;
                let rank = line.strip_prefix("ready ").with_context(|| format!("a rank said {line:?}"))?.parse()?;
                jobs.connections.insert((job, rank), connection);
            }
        }
        Ok(jobs)
    }

    /// Lets all ranks write at the same time and waits for all.
    fn write(&mut self, writes: &[WriteOf], times: u64) -> Result<()> {
        for write in writes {
            self.connection(write)?.say(write, times)?;
        }
        for write in writes {
            let line = self.connection(write)?.line().with_context(|| format!("no answer to {write:?}"))?;
            ensure!(line == "done", "{line:?} after {write:?}");
        }
        Ok(())
    }

    fn connection(&mut self, write: &WriteOf) -> Result<&mut Connection> {
        self.connections.get_mut(&(write.job, write.rank)).with_context(|| format!("no rank for {write:?}"))
    }

    fn end(mut self) -> Result<()> {
        for connection in self.connections.values_mut() {
            writeln!(connection.output, "end")?;
        }
        self.groups.into_iter().try_for_each(|group| group.succeed().map(drop))
    }
}

impl Connection {
    fn say(&mut self, write: &WriteOf, times: u64) -> Result<()> {
        let WriteOf { collective, offset, length, seed, .. } = write;
        let kind = if *collective { "all" } else { "each" };
        // In one piece: a line in several would wait for acknowledgements.
        let line = format!("write {kind} {times} {offset} {length} {seed}\n");
        self.output.write_all(line.as_bytes()).context("the rank is gone")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.input.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the rank has hung up");
        Ok(line.trim().to_owned())
    }

    /// The next connection, with reads bounded in time.
    fn accept(listener: &TcpListener) -> Result<Connection> {
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            match listener.accept() {
                Ok((output, _)) => {
                    output.set_nonblocking(false)?;
                    output.set_nodelay(true)?;
                    output.set_read_timeout(Some(ANSWER_TIME_MAX))?;
                    return Ok(Connection { input: BufReader::new(output.try_clone()?), output });
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error).context("no job connected"),
            }
        }
    }
}

#[cfg(test)]
mod checker {
    use super::*;

    fn two(collective: bool) -> [WriteOf; 4] {
        let write = |job, offset, seed| WriteOf { job, rank: 0, collective, offset, length: 100, seed };
        // Both writes of job 0 overlap both of job 1.
        [write(0, 0, 1), write(0, 100, 2), write(1, 50, 3), write(1, 150, 4)]
    }

    fn apply(writes: &[WriteOf], order: &[usize]) -> Vec<u8> {
        let mut bytes = vec![0; 300];
        for write in order.iter().map(|&i| &writes[i]) {
            let end = (write.offset + write.length) as usize;
            let data = pattern::bytes(write.seed, write.offset, write.length as usize);
            bytes[write.offset as usize..end].copy_from_slice(&data);
        }
        bytes
    }

    #[test]
    fn serial_orders_pass_and_mixtures_do_not() {
        let before = vec![0; 300];
        let independent = two(false);
        for order in [[0, 1, 2, 3], [3, 1, 2, 0], [2, 0, 3, 1]] {
            assert!(check_round(&before, &apply(&independent, &order), &independent).is_ok(), "{order:?}");
        }
        let collective = two(true);
        assert!(check_round(&before, &apply(&collective, &[0, 1, 2, 3]), &collective).is_ok());
        assert!(check_round(&before, &apply(&collective, &[2, 3, 0, 1]), &collective).is_ok());
        let mixed = check_round(&before, &apply(&collective, &[0, 2, 3, 1]), &collective);
        assert!(mixed.is_err(), "job 1 lies between the two parts of job 0's collective");
        let mut torn = apply(&independent, &[0, 1, 2, 3]);
        torn[60..70].copy_from_slice(&pattern::bytes(1, 60, 10));
        assert!(check_round(&before, &torn, &independent).is_err(), "a write in two parts");
        let mut stray = apply(&independent, &[0, 1, 2, 3]);
        stray[280] = 1;
        assert!(check_round(&before, &stray, &independent).is_err(), "a byte that nobody wrote");
    }
}
