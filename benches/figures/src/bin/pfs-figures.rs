//! `pfs-figures`: the table and the plots out of a suite's samples.

use anyhow::{Context, Result};
use clap::Parser;
use pfs_bench_datapath::machine::Machine;
use pfs_bench_figures::samples::Samples;
use pfs_bench_figures::{beside, plots, table};
use std::fs;
use std::path::PathBuf;

/// Make `README.md` and plots beside `samples.csv`
#[derive(Debug, Parser)]
struct Options {
    /// Directory with samples.csv
    directory: PathBuf,
    /// Commit of the source tree
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// What the suite was told, for the head of the table
    #[arg(long, default_value = "")]
    about: String,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let file = options.directory.join("samples.csv");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let samples = Samples::parse(&text)?;
    let machine = options.directory.join("machine.json");
    let facts = match fs::read_to_string(&machine) {
        // Made with the samples; a later look at them changes nothing of it.
        Ok(facts) => facts,
        Err(_) => {
            let facts = serde_json::to_string_pretty(&Machine::describe(&options.commit))?;
            fs::write(&machine, &facts)?;
            facts
        }
    };
    let names = plots::draw(&samples, &options.directory)?;
    let pictures: String = names.iter().map(|name| format!("![{name}]({name}.svg)\n\n")).collect();
    let table = table::markdown(&samples) + &beside::markdown(&options.directory)?;
    let head = "# Suite\n\nMade by `cargo xtask bench`; samples are in `samples.csv`.";
    let about = &options.about;
    let all = format!("{head} {about}\n\n{table}\n## Plots\n\n{pictures}## Machine\n\n```json\n{facts}\n```\n");
    fs::write(options.directory.join("README.md"), all)?;
    print!("{table}");
    Ok(())
}
