//! `pfs-plan-figures`: what planning a collective access costs one rank, over the number of ranks, as a table and a plot.
//!
//! A sample constructs the plan and walks through all that rank 0, an aggregator or the owner of its own pieces, does. The
//! time is CPU time of the one thread that does it; memory is what is allocated beyond the accesses themselves, at most.
//!
//! `cargo run --release -p pfs-bench --bin pfs-plan-figures -- --out benches/runs/<date>-<machine>`

use anyhow::{Context, Result};
use clap::Parser;
use pfs_bench::planning::{Pattern, plan_and_walk, recipe};
use pfs_core::hints::Switch;
use plotters::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use std::alloc::{GlobalAlloc, Layout};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The allocator of the servers, with a count of the bytes that are in use and of the most that were.
struct Counting(mimalloc::MiMalloc);

#[global_allocator]
static ALLOCATOR: Counting = Counting(mimalloc::MiMalloc);
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to an allocator that keeps the contract; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK_BYTES.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `at` came from `alloc` above with this layout.
        unsafe { self.0.dealloc(at, layout) }
    }
}

/// Figures of the collective planner, in process and on one core.
#[derive(Debug, Parser)]
struct Options {
    /// Directory for `planning.txt`, `planning.csv` and `planning.svg`.
    #[arg(long)]
    out: PathBuf,
    /// Samples of each point; the fastest counts.
    #[arg(long, default_value_t = 5)]
    samples: u32,
    /// Only the point that has a target.
    #[arg(long)]
    quick: bool,
}

/// One measured point.
struct Point {
    pattern: &'static str,
    way: &'static str,
    ranks: u64,
    pieces: u64,
    cpu_ms: f64,
    peak_mib: f64,
}

/// Ranks and pieces of the point with the target.
const TARGET: (u64, u64) = (4096, 1000);
const TARGET_MS: f64 = 1000.0;

fn main() -> Result<()> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.out).with_context(|| format!("make {}", options.out.display()))?;
    let sizes = [64u64, 256, 1024, 4096, 16_384, 65_536].map(|ranks| (ranks, 64)).into_iter().chain([TARGET]);
    let mut points = Vec::new();
    for (ranks, pieces) in sizes.filter(|size| !options.quick || *size == TARGET) {
        for pattern in Pattern::ALL {
            for way in [Switch::Enable, Switch::Disable] {
                points.push(measure(pattern, way, ranks, pieces, options.samples));
            }
        }
    }
    let report = table(&points);
    print!("{report}");
    write(&options.out.join("planning.txt"), &report)?;
    write(&options.out.join("planning.csv"), &csv(&points))?;
    if options.quick {
        return Ok(());
    }
    plot(&options.out.join("planning.svg"), &points).context("draw planning.svg")
}

fn measure(pattern: Pattern, way: Switch, ranks: u64, pieces: u64, samples: u32) -> Point {
    let (recipe, accesses) = (recipe(), pattern.accesses(ranks, pieces));
    let (mut cpu_ms, mut peak_mib) = (f64::INFINITY, 0.0);
    for _ in 0..samples.max(1) {
        let accesses = accesses.clone();
        let before = LIVE_BYTES.load(Ordering::Relaxed);
        PEAK_BYTES.store(before, Ordering::Relaxed);
        let since = cpu_time();
        std::hint::black_box(plan_and_walk(accesses, &recipe, way));
        cpu_ms = f64::min(cpu_ms, (cpu_time() - since).as_secs_f64() * 1e3);
        peak_mib = (PEAK_BYTES.load(Ordering::Relaxed) - before) as f64 / f64::from(1 << 20);
    }
    let way = if way == Switch::Enable { "exchange" } else { "direct" };
    Point { pattern: pattern.name(), way, ranks, pieces, cpu_ms, peak_mib }
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn table(points: &[Point]) -> String {
    let mut text = String::from("pattern    way        ranks  pieces  CPU ms of one rank  MiB at most\n");
    for Point { pattern, way, ranks, pieces, cpu_ms, peak_mib } in points {
        writeln!(text, "{pattern:9}  {way:8}  {ranks:6}  {pieces:6}  {cpu_ms:18.2}  {peak_mib:11.1}")
            .expect("a string");
    }
    text
}

fn csv(points: &[Point]) -> String {
    let mut text = String::from("pattern,way,ranks,pieces_per_rank,cpu_ms,peak_mib\n");
    for Point { pattern, way, ranks, pieces, cpu_ms, peak_mib } in points {
        writeln!(text, "{pattern},{way},{ranks},{pieces},{cpu_ms:.3},{peak_mib:.2}").expect("a string");
    }
    text
}

fn plot(path: &Path, points: &[Point]) -> Result<()> {
    pfs_bench_figures::plot::font()?;
    let root = SVGBackend::new(path, (800, 500)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("One rank's plan of a collective access, 64 pieces a rank", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d((64.0..65_536.0).log_scale(), (0.01..2000.0).log_scale())?;
    chart.configure_mesh().x_desc("ranks").y_desc("CPU ms").x_label_formatter(&|ranks| format!("{ranks:.0}")).draw()?;
    let colors = [&BLUE, &RED, &GREEN];
    for (pattern, color) in Pattern::ALL.into_iter().zip(colors) {
        for (way, strength) in [("exchange", 1.0), ("direct", 0.4)] {
            let of = points.iter().filter(|p| p.pattern == pattern.name() && p.way == way && p.pieces == 64);
            let of: Vec<(f64, f64)> = of.map(|p| (p.ranks as f64, p.cpu_ms)).collect();
            let style = color.mix(strength).stroke_width(2);
            chart
                .draw_series(LineSeries::new(of, style).point_size(3))?
                .label(format!("{}, {way}", pattern.name()))
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], style));
        }
    }
    chart
        .draw_series(LineSeries::new([(64.0, TARGET_MS), (65_536.0, TARGET_MS)], BLACK.mix(0.4)))?
        .label("1 s")
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
