//! `pfs-raw`: a server that does the data path's job on plain sockets, and a client to try it by hand.

use anyhow::{Context, Result};
use clap::Parser;
use pfs_bench_datapath::raw::{RawClient, Server};
use pfs_bench_datapath::usage::Usage;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The raw TCP reference.
#[derive(Debug, Parser)]
enum Options {
    /// Serve an empty store until standard input ends; the address is the only line of output.
    Serve {
        /// Directory of the store.
        #[arg(long)]
        dir: PathBuf,
        /// Most bytes that are stored.
        #[arg(long, default_value_t = 1 << 30)]
        bytes_max: u64,
        /// Address to listen on.
        #[arg(long, default_value_t = IpAddr::from([127, 0, 0, 1]))]
        listen: IpAddr,
    },
    /// Write and read by several connections at once, each a part of the store of its own, and tell what it took.
    Try {
        /// Where the server is.
        address: SocketAddr,
        /// Connections, each with a thread.
        #[arg(long, default_value_t = 1)]
        connections: usize,
        /// MiB of each connection.
        #[arg(long, default_value_t = 256)]
        mib: usize,
        /// KiB of one request.
        #[arg(long, default_value_t = 1024)]
        request_kib: usize,
        /// How often everything is written and read.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
}

fn main() -> Result<()> {
    match Options::parse() {
        Options::Serve { dir, bytes_max, listen } => serve(&dir, bytes_max, listen),
        Options::Try { address, connections, mib, request_kib, rounds } => {
            for _ in 0..rounds {
                for reads in [false, true] {
                    try_once(address, connections, mib << 20, request_kib << 10, reads)?;
                }
            }
            Ok(())
        }
    }
}

fn serve(directory: &std::path::Path, bytes_max: u64, listen: IpAddr) -> Result<()> {
    // A session of its own, like every server: the scheduler shares the processor out among sessions.
    rustix::process::setsid().context("begin a session")?;
    let server = Server::open(directory, bytes_max, listen)?;
    println!("{}", server.address()?);
    std::io::stdout().flush().context("tell the address")?;
    std::thread::spawn(|| {
        // Whoever started this is gone when its end of the pipe is; an error says the same.
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    server.serve()
}

fn try_once(address: SocketAddr, connections: usize, bytes: usize, request_bytes: usize, reads: bool) -> Result<()> {
    let clients = (0..connections).map(|_| RawClient::connect(address)).collect::<Result<Vec<_>>>()?;
    let mut buffers = vec![vec![1u8; bytes]; connections];
    let (started, before) = (Instant::now(), Usage::own()?);
    std::thread::scope(|scope| -> Result<()> {
        let mut parts = Vec::new();
        for (index, (mut client, buffer)) in clients.into_iter().zip(&mut buffers).enumerate() {
            let offset = (index * bytes) as u64;
            parts.push(scope.spawn(move || match reads {
                true => client.read_at(offset, buffer, request_bytes),
                false => client.write_at(offset, buffer, request_bytes),
            }));
        }
        parts.into_iter().try_for_each(|part| part.join().expect("no panic in a transfer"))
    })?;
    let (seconds, used) = (started.elapsed().as_secs_f64(), Usage::own()? - before);
    let gib = (bytes * connections) as f64 / f64::from(1u32 << 30);
    let doing = if reads { "read" } else { "write" };
    let client = used.cpu.as_secs_f64() / gib;
    println!("{doing:5} {:.2} GiB/s, client {client:.3} CPU-s/GiB", gib / seconds);
    Ok(())
}
