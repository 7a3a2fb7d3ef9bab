//! `pfs-token-figures`: time and memory of the token manager over the number of live tokens, as a table and a plot.
//! `cargo run --release -p pfs-bench --bin pfs-token-figures -- --out benches/runs/<date>-<machine>`

use anyhow::{Context, Result};
use clap::Parser;
use pfs_bench::tokens::Load;
use pfs_proto::v1;
use plotters::prelude::*;
use prost::Message;
use std::alloc::{GlobalAlloc, Layout};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

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
    /// Samples of each point; the fastest counts, the slowest is kept too.
    #[arg(long, default_value_t = 5)]
    samples: u32,
}

/// One measured point.
struct Point {
    holders: u64,
    live: u64,
    fastest_ns: f64,
    slowest_ns: f64,
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
        let start = Instant::now();
        (0..options.pairs).for_each(|_| load.pair());
        start.elapsed().as_nanos() as f64 / options.pairs as f64
    };
    let samples: Vec<f64> = (0..options.samples.max(1)).map(|_| sample(&mut load)).collect();
    Point {
        holders,
        live,
        fastest_ns: samples.iter().copied().fold(f64::INFINITY, f64::min),
        slowest_ns: samples.iter().copied().fold(0.0, f64::max),
        bytes_per_token: bytes as f64 / live as f64,
    }
}

fn table(points: &[Point]) -> String {
    let mut text = String::from("holders  live tokens  ns per pair  (slowest)  pairs a second  bytes per token\n");
    for Point { holders, live, fastest_ns, slowest_ns, bytes_per_token } in points {
        let rate = 1e9 / fastest_ns;
        let line = format!(
            "{holders:7}  {live:11}  {fastest_ns:11.0}  {slowest_ns:9.0}  {rate:14.0}  {bytes_per_token:15.1}\n"
        );
        text.push_str(&line);
    }
    text
}

fn csv(points: &[Point]) -> String {
    let mut text = String::from("holders,live_tokens,fastest_ns_per_pair,slowest_ns_per_pair,bytes_per_token\n");
    for Point { holders, live, fastest_ns, slowest_ns, bytes_per_token } in points {
        writeln!(text, "{holders},{live},{fastest_ns:.1},{slowest_ns:.1},{bytes_per_token:.1}").expect("a string");
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
    let root = SVGBackend::new(path, (800, 500)).into_drawing_area();
    root.fill(&WHITE)?;
    let most_ns = points.iter().map(|point| point.fastest_ns).fold(1000.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(&root)
        .caption("One acquire and release in the token manager", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d((1e3..1e6).log_scale(), 0.0..most_ns)?;
    chart
        .configure_mesh()
        .x_desc("live tokens in one file")
        .y_desc("ns per pair")
        .x_label_formatter(&|live| format!("{live:.0}"))
        .draw()?;
    for (holders, color) in [(16, BLUE), (1000, RED)] {
        let of: Vec<(f64, f64)> =
            points.iter().filter(|p| p.holders == holders).map(|p| (p.live as f64, p.fastest_ns)).collect();
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
