//! `pfs-token-figures`: time and memory of the token manager over the number of live tokens, as a table and a plot.
//!
//! The time that counts is CPU time of the one thread that does the work, so that what else the machine does is not
//! counted; the time on the wall is kept beside it.
//!
//! `cargo run --release -p pfs-bench --bin pfs-token-figures -- --out benches/runs/<date>-<machine>`

use anyhow::{Context, Result};
use clap::Parser;
use pfs_bench::tokens::Load;
use pfs_proto::v1;
use plotters::prelude::*;
use prost::Message;
use rustix::time::{ClockId, clock_gettime};
use std::alloc::{GlobalAlloc, Layout};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The allocator of the servers, with a count of the bytes that were asked for and not given back.
struct Counting(mimalloc::MiMalloc);

#[global_allocator]
static ALLOCATOR: Counting = Counting(mimalloc::MiMalloc);
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to an allocator that keeps the contract; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `at` came from `alloc` above with this layout.
        unsafe { self.0.dealloc(at, layout) }
    }
}

/// Figures of the token manager, in process and on one core.
#[derive(Debug, Parser)]
struct Options {
    /// Directory for `tokens.txt`, `tokens.csv` and `tokens.svg`.
    #[arg(long)]
    out: PathBuf,
    /// Pairs of acquire and release in one sample.
    #[arg(long, default_value_t = 500_000)]
    pairs: u64,
    /// Samples of each point; the fastest counts.
    #[arg(long, default_value_t = 5)]
    samples: u32,
}

/// One measured point.
struct Point {
    holders: u64,
    live: u64,
    /// CPU time of a pair.
    cpu_ns: f64,
    /// Time of a pair on the wall.
    wall_ns: f64,
    bytes_per_token: f64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.out).with_context(|| format!("make {}", options.out.display()))?;
    let mut points = Vec::new();
    for holders in [16, 1000] {
        for live in [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000] {
            points.push(measure(holders, live, &options));
        }
    }
    let report = format!("{}\n{}", table(&points), collective_requests());
    print!("{report}");
    write(&options.out.join("tokens.txt"), &report)?;
    write(&options.out.join("tokens.csv"), &csv(&points))?;
    plot(&options.out.join("tokens.svg"), &points).context("draw tokens.svg")
}

fn measure(holders: u64, live: u64, options: &Options) -> Point {
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    let mut load = Load::new(holders, live);
    let bytes = LIVE_BYTES.load(Ordering::Relaxed) - before;
    let sample = |load: &mut Load| {
        let (wall, cpu) = (Instant::now(), cpu_time());
        (0..options.pairs).for_each(|_| load.pair());
        let per_pair = |time: Duration| time.as_nanos() as f64 / options.pairs as f64;
        (per_pair(cpu_time() - cpu), per_pair(wall.elapsed()))
    };
    let samples: Vec<(f64, f64)> = (0..options.samples.max(1)).map(|_| sample(&mut load)).collect();
    let fastest = |times: &mut dyn Iterator<Item = f64>| times.fold(f64::INFINITY, f64::min);
    Point {
        holders,
        live,
        cpu_ns: fastest(&mut samples.iter().map(|(cpu, _)| *cpu)),
        wall_ns: fastest(&mut samples.iter().map(|(_, wall)| *wall)),
        bytes_per_token: bytes as f64 / live as f64,
    }
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn table(points: &[Point]) -> String {
    let mut text = String::from("holders  live tokens  CPU ns per pair  (wall)  pairs a CPU second  bytes per token\n");
    for Point { holders, live, cpu_ns, wall_ns, bytes_per_token } in points {
        let rate = 1e9 / cpu_ns;
        let times = format!("{holders:7}  {live:11}  {cpu_ns:15.0}  {wall_ns:6.0}");
        writeln!(text, "{times}  {rate:18.0}  {bytes_per_token:15.1}").expect("a string");
    }
    text
}

fn csv(points: &[Point]) -> String {
    let mut text = String::from("holders,live_tokens,cpu_ns_per_pair,wall_ns_per_pair,bytes_per_token\n");
    for Point { holders, live, cpu_ns, wall_ns, bytes_per_token } in points {
        writeln!(text, "{holders},{live},{cpu_ns:.1},{wall_ns:.1},{bytes_per_token:.1}").expect("a string");
    }
    text
}

/// What a collective of 1,024 ranks sends to the manager, by the number of blocks of each rank.
fn collective_requests() -> String {
    let mut text = String::from("1024 ranks, blocks per rank  requests  bytes of the request\n");
    let mut load = Load::new(1, 0);
    for blocks in [1, 16, 256, 4096, 65_536, 1_048_576] {
        let request = v1::AcquireToken::from(load.collective(1024, blocks));
        writeln!(text, "{blocks:27}  {:8}  {:20}", 1, request.encoded_len()).expect("a string");
    }
    text
}

fn plot(path: &Path, points: &[Point]) -> Result<()> {
    pfs_bench_figures::plot::font()?;
    let root = SVGBackend::new(path, (800, 500)).into_drawing_area();
    root.fill(&WHITE)?;
    let most_ns = points.iter().map(|point| point.cpu_ns).fold(1000.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(&root)
        .caption("One acquire and release in the token manager", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d((1e3..1e6).log_scale(), 0.0..most_ns)?;
    chart
        .configure_mesh()
        .x_desc("live tokens in one file")
        .y_desc("CPU ns per pair")
        .x_label_formatter(&|live| format!("{live:.0}"))
        .draw()?;
    for (holders, color) in [(16, BLUE), (1000, RED)] {
        let of: Vec<(f64, f64)> =
            points.iter().filter(|p| p.holders == holders).map(|p| (p.live as f64, p.cpu_ns)).collect();
        chart
            .draw_series(LineSeries::new(of, color.stroke_width(2)).point_size(3))?
            .label(format!("{holders} holders"))
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], color.stroke_width(2)));
    }
    let all = [(1e3, 1000.0), (1e6, 1000.0)];
    chart
        .draw_series(LineSeries::new(all, BLACK.mix(0.4)))?
        .label("1,000,000 pairs a second")
        .legend(|(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], BLACK.mix(0.4)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
