//! `pfs-store-io`: direct calls, a blocking pool and io_uring, in turns, with and without page cache, in memory and on a
//! disk.
//!
//! `cargo run --release -p pfs-bench-datapath --bin pfs-store-io -- --disk /var/tmp --out benches/runs/<date>-<machine>/store-io`

use anyhow::{Context, Result};
use clap::Parser;
use pfs_bench_datapath::statistics::Median;
use pfs_bench_datapath::store_io::{Direct, Load, Method, Pool, Sample, Uring, make_file, once};
use std::fmt::Write;
use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure how a server should ask the kernel for bytes of files.
#[derive(Debug, Parser)]
struct Options {
    /// A directory in memory.
    #[arg(long, default_value = "/dev/shm")]
    memory: PathBuf,
    /// A directory on a disk.
    #[arg(long, default_value = "/var/tmp")]
    disk: PathBuf,
    /// Directory for the figures.
    #[arg(long)]
    out: PathBuf,
    /// Rounds of each load.
    #[arg(long, default_value_t = 11)]
    rounds: u32,
    /// MiB of each file.
    #[arg(long, default_value_t = 256)]
    file_mib: usize,
}

/// Bytes of a request, and how many requests a run has.
const SIZES: [(usize, usize); 2] = [(4096, 4096), (1 << 20, 128)];
const DEPTHS: [usize; 2] = [1, 16];

fn main() -> Result<()> {
    let options = Options::parse();
    let mut methods: Vec<Box<dyn Method>> =
        vec![Box::new(Direct::new()), Box::new(Pool::new()?), Box::new(Uring::new()?)];
    let places =
        [("memory", &options.memory, false), ("disk", &options.disk, false), ("disk-direct", &options.disk, true)];
    let mut samples = Vec::new();
    for (place, parent, direct) in places {
        let directory = tempfile::Builder::new().prefix("pfs-store-io-").tempdir_in(parent)?;
        let file = make_file(&directory.path().join("file"), options.file_mib << 20, direct)?;
        for (bytes, requests) in SIZES {
            for (depth, reads) in DEPTHS.into_iter().flat_map(|depth| [(depth, false), (depth, true)]) {
                eprint!("\r{place} {bytes} bytes depth {depth:2} {}      ", if reads { "reads" } else { "writes" });
                let offsets = scattered((options.file_mib << 20) / bytes, requests, bytes);
                let load = Load { file: file.clone(), reads, bytes, depth, offsets };
                for round in 0..=options.rounds {
                    for method in &mut methods {
                        let sample = once(method.as_mut(), place, &load)?;
                        samples.extend((round > 0).then_some(sample));
                    }
                }
            }
        }
    }
    eprintln!();
    std::fs::create_dir_all(&options.out).with_context(|| format!("make {}", options.out.display()))?;
    let text = table(&samples);
    print!("{text}");
    std::fs::write(options.out.join("store-io.txt"), text)?;
    std::fs::write(options.out.join("store-io.csv"), csv(&samples))?;
    Ok(())
}

/// Offsets all over a file of so many places, none twice before all were used.
fn scattered(places: usize, requests: usize, bytes: usize) -> Vec<u64> {
    // An odd step is prime to a power of two; other numbers of places only make some come twice.
    (0..requests).map(|request| (request * 40_503 % places * bytes) as u64).collect()
}

fn key(sample: &Sample) -> (&'static str, usize, usize, &'static str, &'static str) {
    (sample.place, sample.bytes, sample.depth, sample.direction, sample.method)
}

fn table(samples: &[Sample]) -> String {
    let mut text = format!(
        "{:12} {:>8} {:>5} {:9} {:7} {:>10} {:>7} {:>10} {:>7}\n",
        "place", "bytes", "depth", "direction", "method", "CPU µs", "±", "wall µs", "±"
    );
    let mut seen = Vec::new();
    for sample in samples {
        if seen.contains(&key(sample)) {
            continue;
        }
        seen.push(key(sample));
        let same: Vec<&Sample> = samples.iter().filter(|other| key(other) == key(sample)).collect();
        let median = |of: fn(&Sample) -> f64| Median::of(&same.iter().map(|sample| of(sample)).collect::<Vec<_>>());
        let (cpu, wall) = (median(|sample| sample.cpu_us), median(|sample| sample.wall_us));
        let Sample { place, direction, bytes, depth, method, .. } = sample;
        write!(text, "{place:12} {bytes:8} {depth:5} {direction:9} {method:7}").expect("a string");
        let percent = |median: Median| median.spread() * 100.0;
        let figures = format!("{:10.2} {:6.1}% {:10.2} {:6.1}%", cpu.value, percent(cpu), wall.value, percent(wall));
        writeln!(text, " {figures}").expect("a string");
    }
    text
}

fn csv(samples: &[Sample]) -> String {
    let mut text = String::from("place,bytes,depth,direction,method,cpu_us,wall_us\n");
    for Sample { place, direction, bytes, depth, method, cpu_us, wall_us } in samples {
        writeln!(text, "{place},{bytes},{depth},{direction},{method},{cpu_us:.3},{wall_us:.3}").expect("a string");
    }
    text
}
