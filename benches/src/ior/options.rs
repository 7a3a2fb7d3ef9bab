//! The command line, with IOR's letters.

use clap::{ArgAction, Parser, ValueEnum};

/// Which interface the bytes go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Api {
    /// This file system's MPI-IO library.
    Pfs,
    /// The operating system's files.
    Posix,
    /// The MPI library's own MPI-IO.
    Mpiio,
}

impl Api {
    /// IOR's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Api::Pfs => "PFS",
            Api::Posix => "POSIX",
            Api::Mpiio => "MPIIO",
        }
    }
}

/// IOR's parallel I/O test on this file system. Start it by mpirun.
#[derive(Clone, Debug, Parser)]
#[command(name = "pfs-ior", version)]
#[allow(clippy::struct_excessive_bools)] // a command line has switches
pub struct Options {
    /// Interface: PFS, POSIX or MPIIO
    #[arg(short = 'a', value_enum, ignore_case = true, default_value = "PFS")]
    pub api: Api,
    /// Contiguous bytes that each rank moves in one segment (8, 4k, 2m, 1g)
    #[arg(short = 'b', value_parser = size, default_value = "1m")]
    pub block_bytes: u64,
    /// Bytes of one transfer (8, 4k, 2m, 1g)
    #[arg(short = 't', value_parser = size, default_value = "256k")]
    pub transfer_bytes: u64,
    /// Number of segments
    #[arg(short = 's', default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub segments: u64,
    /// Number of repetitions
    #[arg(short = 'i', default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub repetitions: u32,
    /// Collective transfers
    #[arg(short = 'c')]
    pub collective: bool,
    /// Each rank reads what another one wrote, so that no cache helps
    #[arg(short = 'C')]
    pub reorder: bool,
    /// One file per rank
    #[arg(short = 'F')]
    pub file_per_rank: bool,
    /// Write the file
    #[arg(short = 'w')]
    pub write: bool,
    /// Read the file
    #[arg(short = 'r')]
    pub read: bool,
    /// Check the data after the write
    #[arg(short = 'W')]
    pub check_write: bool,
    /// Check the data during the read
    #[arg(short = 'R')]
    pub check_read: bool,
    /// Keep the file at the end
    #[arg(short = 'k')]
    pub keep: bool,
    /// Sync before the close of a write
    #[arg(short = 'e')]
    pub fsync: bool,
    /// Signature of the data; needed to check what another run wrote (-v shows it)
    #[arg(short = 'G')]
    pub signature: Option<u64>,
    /// Name of the test file
    #[arg(short = 'o')]
    pub file: String,
    /// Tell more
    #[arg(short = 'v', action = ArgAction::Count)]
    pub verbose: u8,
    /// Print one line of JSON instead of the table
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// Checks what belongs together and fills in what IOR takes for granted.
    pub fn checked(mut self) -> Result<Options, String> {
        if !(self.write || self.read || self.check_write || self.check_read) {
            (self.write, self.read) = (true, true);
        }
        self.read |= self.check_read;
        if self.transfer_bytes == 0 || self.block_bytes == 0 {
            return Err("block size (-b) and transfer size (-t) must be at least 1 byte".to_owned());
        }
        if !self.block_bytes.is_multiple_of(self.transfer_bytes) {
            let (block, transfer) = (self.block_bytes, self.transfer_bytes);
            return Err(format!("the block size (-b {block}) must be a multiple of the transfer size (-t {transfer})"));
        }
        if self.collective && self.api == Api::Posix {
            return Err("POSIX has no collective transfers; leave out -c or take -a PFS or MPIIO".to_owned());
        }
        let checks = self.check_read || self.check_write;
        if checks && !self.write && self.signature.is_none() {
            return Err(
                "to check what another run wrote, give its signature by -G (that run shows it with -v)".to_owned()
            );
        }
        Ok(self)
    }
}

/// A number of bytes with IOR's suffixes k, m, g and t, powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, shift) = match lower.strip_suffix(['k', 'm', 'g', 't']) {
        Some(digits) => {
            let power = "kmgt".find(&lower[digits.len()..]).unwrap_or(0);
            (digits, 10 * (power + 1))
        }
        None => (lower.as_str(), 0),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a size like 8, 4k, 2m or 1g"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text:?} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let words = std::iter::once("pfs-ior").chain(line.split_whitespace());
        Options::try_parse_from(words).map_err(|error| error.to_string())?.checked()
    }

    #[test]
    fn a_line_as_ior_takes_it() {
        let options = parse("-c -b 16m -t 4M -s 4 -w -r -W -R -i 3 -C -k -o pfs:/x").unwrap();
        assert_eq!((options.block_bytes, options.transfer_bytes, options.segments), (16 << 20, 4 << 20, 4));
        assert!(options.collective && options.reorder && options.keep && options.check_read && options.check_write);
        assert_eq!((options.api, options.repetitions), (Api::Pfs, 3));
        assert_eq!(parse("-a posix -F -o /tmp/x").unwrap().api, Api::Posix);
    }

    #[test]
    fn without_any_access_it_writes_and_reads() {
        let options = parse("-o x").unwrap();
        assert!(options.write && options.read && !options.check_read);
        assert_eq!((options.block_bytes, options.transfer_bytes), (1 << 20, 256 << 10));
        assert!(!parse("-w -o x").unwrap().read);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (line, why) in [
            ("-b 5 -t 2 -o x", "multiple"),
            ("-t 0 -o x", "at least 1"),
            ("-a POSIX -c -o x", "collective"),
            ("-r -R -o x", "-G"),
            ("-b 1x -o x", "not a size"),
            ("-b 99999999999t -o x", "too large"),
            ("-s 0 -o x", "0"),
            ("-w", "-o"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
        assert!(parse("-r -R -G 7 -o x").is_ok());
    }
}
