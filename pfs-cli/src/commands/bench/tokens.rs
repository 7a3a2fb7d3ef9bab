//! `pfs bench tokens`: the token protocol over the network, as ratios to a round trip on the same kind of stream.
//!
//! Round trips and hand-overs are measured in turn, so that whatever else the machine does hits them alike.

use super::raw_client::RawClient;
use crate::connection::{Connection, cannot};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Column};
use clap::Args;
use pfs_client::blocking::{Client, File};
use pfs_client::{Access, Error, OpenOptions};
use pfs_core::extent::Extent;
use pfs_core::path::PfsPath;
use pfs_core::token::message::Mode;
use pfs_proto::secret::Secret;
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const BLOCK_BYTES: usize = 4096;
/// Requests of one client between two looks at the clock.
const BATCH: u64 = 512;
/// Where the ranges of the next client begin.
const CLIENT_STRIDE_BYTES: u64 = 1 << 40;
const CACHED_ROUNDS: u32 = 1_000_000;

/// Measure tokens of a running cluster
#[derive(Debug, Args)]
#[command(after_help = "\
With --json: {clients, in_flight, acquires_per_s, acquires_per_s_one_at_a_time, cached_ns, ping_us, hand_over_clean_us,
hand_over_dirty_us, hand_over_clean_pings, hand_over_dirty_pings}. Times are medians. A ping is a heartbeat and its answer on a
token stream. A dirty hand-over includes the write of 4 KiB that the other client has in its cache.")]
pub struct Flags {
    /// Answer as JSON
    #[arg(long)]
    json: bool,

    /// Clients that ask for tokens at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=256))]
    clients: u64,

    /// Requests that each of them has on their way
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=512))]
    in_flight: u64,

    /// How long each measurement takes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// A file to make and remove
    #[arg(long, default_value = "/pfs-bench-tokens", value_name = "PATH")]
    file: String,
}

#[derive(Serialize)]
struct Figures {
    clients: u64,
    in_flight: u64,
    acquires_per_s: f64,
    acquires_per_s_one_at_a_time: f64,
    cached_ns: f64,
    ping_us: f64,
    hand_over_clean_us: f64,
    hand_over_dirty_us: f64,
    hand_over_clean_pings: f64,
    hand_over_dirty_pings: f64,
}

/// Runs the subcommand.
pub fn run(flags: &Flags, connection: &Connection) -> Outcome {
    let path = PfsPath::parse(&flags.file).map_err(|error| Failure::usage(format_args!("--file: {error}")))?;
    let metadata = connection.metadata()?;
    let bench = Bench {
        address: metadata.first().expect("at least one address").clone(),
        secret: connection.secret()?,
        path,
        time: Duration::from_secs(flags.seconds),
    };
    let cluster = connection.open(None)?;
    let figures = bench.measure(flags, connection, &cluster.client);
    let removed = cluster.client.remove(&bench.path, None).map_err(|error| cannot("remove the file", &error));
    let figures = figures?;
    removed?;
    if flags.json { output::print_json(&figures) } else { output::print(&show(&figures)) }
}

struct Bench {
    address: String,
    secret: Secret,
    path: PfsPath,
    time: Duration,
}

impl Bench {
    fn measure(&self, flags: &Flags, connection: &Connection, client: &Client) -> Result<Figures, Failure> {
        let failed = |error: Error| cannot("measure tokens", &error);
        let one = self.rate(flags.clients, 1)?;
        let many = self.rate(flags.clients, usize::try_from(flags.in_flight).expect("a small number"))?;
        let file = self.open(client).map_err(failed)?;
        let cached_ns = cached_ns(&file).map_err(failed)?;
        let other = connection.open(None)?;
        let second = self.open(&other.client).map_err(failed)?;
        let (mut pings, mut clean, mut dirty) = (Vec::new(), Vec::new(), Vec::new());
        let runtime = runtime()?;
        let mut raw =
            runtime.block_on(RawClient::connect(&self.address, &self.secret)).map_err(|e| stream_failed(&e))?;
        let end = Instant::now() + self.time;
        while Instant::now() < end {
            for holder in [&file, &second] {
                pings.push(timed(|| runtime.block_on(raw.ping()).map_err(|error| stream_failed(&error)))?);
                clean.push(timed(|| holder.acquire(Mode::Exclusive, &[block()]).map(drop).map_err(failed))?);
            }
            for holder in [&file, &second] {
                dirty.push(timed(|| holder.write_at(&[7; BLOCK_BYTES], 0).map_err(failed))?);
            }
            // The next hand-over is that of a clean block again.
            second.sync().map_err(failed)?;
        }
        runtime.block_on(raw.shut_down()).map_err(|error| stream_failed(&error))?;
        let [ping, clean, dirty] = [pings, clean, dirty].map(median_us);
        Ok(Figures {
            clients: flags.clients,
            in_flight: flags.in_flight,
            acquires_per_s: many,
            acquires_per_s_one_at_a_time: one,
            cached_ns,
            ping_us: ping,
            hand_over_clean_us: clean,
            hand_over_dirty_us: dirty,
            hand_over_clean_pings: clean / ping,
            hand_over_dirty_pings: dirty / ping,
        })
    }

    /// Grants a second to clients that want different ranges of one file. Each asks on a connection of its own.
    fn rate(&self, clients: u64, in_flight: usize) -> Result<f64, Failure> {
        let start = Instant::now();
        let counts = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..clients).map(|number| scope.spawn(move || self.ask(number, in_flight))).collect();
            asking.into_iter().map(|thread| thread.join().expect("does not panic")).collect::<Vec<_>>()
        });
        let total = counts.into_iter().sum::<Result<u64, Failure>>()?;
        Ok(total as f64 / start.elapsed().as_secs_f64())
    }

    fn ask(&self, number: u64, in_flight: usize) -> Result<u64, Failure> {
        let asked = runtime()?.block_on(async {
            let mut client = RawClient::connect(&self.address, &self.secret).await?;
            client.open(self.path.as_str()).await?;
            let (start, mut granted) = (Instant::now(), 0);
            while start.elapsed() < self.time {
                client.acquire_and_release(number * CLIENT_STRIDE_BYTES, BATCH, in_flight).await?;
                granted += BATCH;
            }
            client.shut_down().await?;
            Ok(granted)
        });
        asked.map_err(|status: tonic::Status| stream_failed(&status))
    }

    fn open(&self, client: &Client) -> Result<File, Error> {
        let options = OpenOptions { access: Access::ReadWrite, create: true, ..OpenOptions::default() };
        client.open(&self.path, &options)
    }
}

fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::cannot("start an event loop", &error))
}

fn stream_failed(status: &tonic::Status) -> Failure {
    Failure::because("measure the token stream", pfs_proto::status::error_detail(status))
}

fn block() -> Extent {
    Extent::new(0, BLOCK_BYTES as u64).expect("not empty")
}

/// Nanoseconds for pinning and letting go of what is held already.
fn cached_ns(file: &File) -> Result<f64, Error> {
    drop(file.acquire(Mode::Exclusive, &[block()])?);
    let start = Instant::now();
    for _ in 0..CACHED_ROUNDS {
        drop(file.try_pin(Mode::Exclusive, &[block()]));
    }
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(CACHED_ROUNDS))
}

fn timed<E>(what: impl FnOnce() -> Result<(), E>) -> Result<Duration, E> {
    let start = Instant::now();
    what()?;
    Ok(start.elapsed())
}

fn median_us(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

fn show(figures: &Figures) -> String {
    let Figures { clients, in_flight, .. } = figures;
    let row = |what: String, value: String, ratio: String| vec![what, value, ratio];
    let pings = |count: f64| format!("{count:.2}");
    let rows = [
        row(
            format!("acquire, {clients} clients, {in_flight} in flight each"),
            format!("{:.0}/s", figures.acquires_per_s),
            String::new(),
        ),
        row(
            format!("acquire, {clients} clients, one at a time"),
            format!("{:.0}/s", figures.acquires_per_s_one_at_a_time),
            String::new(),
        ),
        row("cached token".into(), format!("{:.0} ns", figures.cached_ns), String::new()),
        row("ping".into(), format!("{:.1} us", figures.ping_us), pings(1.0)),
        row(
            "hand-over, clean block".into(),
            format!("{:.1} us", figures.hand_over_clean_us),
            pings(figures.hand_over_clean_pings),
        ),
        row(
            "hand-over, dirty block".into(),
            format!("{:.1} us", figures.hand_over_dirty_us),
            pings(figures.hand_over_dirty_pings),
        ),
    ];
    let columns = [Column("MEASURED", Align::Left), Column("FIGURE", Align::Right), Column("IN PINGS", Align::Right)];
    output::table(&columns, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let times = [9, 1, 5].map(Duration::from_micros).to_vec();
        assert!((median_us(times) - 5.0).abs() < 1e-9);
        assert!(median_us(Vec::new()).is_nan());
    }
}
