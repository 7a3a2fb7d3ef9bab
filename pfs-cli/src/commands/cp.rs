//! `pfs cp`: copies files in, out and within, in parallel, and makes the copy durable before it says so.

use crate::connection::{Clusters, Connection, cannot};
use crate::failure::{Failure, Outcome, for_each};
use crate::names::{Place, RemoteName};
use crate::sizes::parse_size;
use crate::transfer::copier::{Copier, CopyOptions};
use crate::transfer::interrupt::Interrupt;
use clap::Args;
use pfs_client::{EntryKind, ErrorKind, LayoutRequest};
use std::fs;
use std::path::Path;

/// Copy files in, out and within
#[derive(Debug, Args)]
#[command(after_help = "\
Names that begin with `pfs:` are files of the cluster, `-` is a pipe, everything else is local; one side at least is
the cluster's. If DESTINATION is a directory, the sources go into it. Existing files are overwritten. When the command
succeeds, the copy is durable.

  pfs cp data.bin pfs:/data.bin          in
  pfs cp pfs:/data.bin -  | md5sum       out, to a pipe
  tar c dir | pfs cp - pfs:/dir.tar      in, from a pipe
  pfs cp -r results pfs:/run7            a directory with everything below it

A local file appears under its name when it is complete. A copy to the cluster that fails leaves the bytes that had
arrived; the error says so.")]
pub struct Flags {
    /// Copy directories too, with everything below them
    #[arg(short, long)]
    recursive: bool,

    /// Leave files alone that exist
    #[arg(short, long)]
    no_clobber: bool,

    /// Say what was copied, and how fast
    #[arg(short, long)]
    verbose: bool,

    /// Show no progress bar
    #[arg(short, long)]
    quiet: bool,

    /// Stripe unit of new files, a multiple of 4K, like 1M [default: the cluster's]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    stripe_unit: Option<u64>,

    /// Number of file servers for new files [default: the cluster's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    stripe_count: Option<u32>,

    /// Bytes that one thread moves at a time
    #[arg(long, value_name = "SIZE", value_parser = block_size, default_value = "8M")]
    block_size: usize,

    /// Threads that move blocks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256), default_value_t = 4)]
    threads: u16,

    /// The files to copy
    #[arg(required = true)]
    source: Vec<String>,

    /// The copy's name, or the directory to copy to
    destination: String,
}

const BLOCK_BYTES_MAX: u64 = 1 << 30;

fn block_size(text: &str) -> Result<usize, String> {
    let bytes = parse_size(text)?;
    match usize::try_from(bytes) {
        Ok(size) if (1..=BLOCK_BYTES_MAX).contains(&bytes) => Ok(size),
        _ => Err("a block has at least 1 byte and at most 1 GiB".to_owned()),
    }
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    let sources = flags.source.iter().map(|source| Place::parse(source)).collect::<Result<Vec<_>, _>>()?;
    let destination = Place::parse(&flags.destination)?;
    for source in &sources {
        check_sides(source, &destination)?;
    }
    let mut clusters = connection.clusters();
    let into_directory = is_directory(&mut clusters, &destination)?;
    if !into_directory && (sources.len() > 1 || flags.destination.ends_with('/') && !flags.recursive) {
        return Err(Failure::because(format_args!("copy to {destination}"), "it is not a directory")
            .next("make it first, or name a file"));
    }
    let options = CopyOptions {
        no_clobber: flags.no_clobber,
        verbose: flags.verbose,
        progress: !flags.quiet,
        layout: LayoutRequest { stripe_unit: flags.stripe_unit, stripe_count: flags.stripe_count, start_server: None },
        block_bytes: flags.block_size,
        threads: usize::from(flags.threads),
    };
    let interrupt = Interrupt::watch().map_err(|error| Failure::cannot("watch for signals", &error))?;
    let mut copier = Copier::new(clusters, options, interrupt);
    for_each(&sources, |source| {
        let target = if into_directory { destination.join(name_of(source)?)? } else { destination.clone() };
        if flags.recursive { copier.copy_tree(source, &target) } else { copier.copy_file(source, &target) }
    })
}

fn check_sides(source: &Place, destination: &Place) -> Outcome {
    match (source, destination) {
        (Place::Remote(_), _) | (_, Place::Remote(_)) => Ok(()),
        _ => Err(Failure::usage(format_args!(
            "neither {source} nor {destination} is a file of the cluster; write its name as pfs:/path"
        ))),
    }
}

fn name_of(source: &Place) -> Result<&str, Failure> {
    source.last_name().ok_or_else(|| {
        Failure::because(format_args!("copy {source} into a directory"), "it has no name of its own")
            .next("give the copy's full name")
    })
}

fn is_directory(clusters: &mut Clusters<'_>, place: &Place) -> Result<bool, Failure> {
    match place {
        Place::Pipe => Ok(false),
        Place::Local(path) => Ok(is_local_directory(path)),
        Place::Remote(name) => is_remote_directory(clusters, name),
    }
}

fn is_local_directory(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn is_remote_directory(clusters: &mut Clusters<'_>, name: &RemoteName) -> Result<bool, Failure> {
    match clusters.of(name)?.client.stat(&name.path) {
        Ok(status) => Ok(status.kind == EntryKind::Directory),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(cannot(format_args!("copy to {name}"), &error)),
    }
}
