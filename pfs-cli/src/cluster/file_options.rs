//! Options of a file server: the same flags for one server and for all of a cluster, which keeps them for its next start.

use crate::sizes::parse_size;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::time::Duration;

/// Options of a cluster's file servers; what is absent is the server's own choice.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileOptions {
    /// Bounds of the memory of each.
    #[command(flatten)]
    pub memory: MemoryOptions,

    /// Threads with which each file server serves [default: the cores of its machine, divided among the file servers there]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// Bounds of a file server's memory; besides, each connection has up to 2 MiB on its way.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryOptions {
    /// Most bytes of writes on their way to objects of a file server, like 32M [default: 32M]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    write_memory: Option<u32>,

    /// Most bytes of read replies in a file server's memory, like 24M [default: 24M]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    reply_memory: Option<u32>,

    /// Most bytes of read replies in a file server's memory for one client, like 8M [default: 8M]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    client_reply_memory: Option<u32>,

    /// Most bytes of buffers that a file server keeps to be used again, like 8M [default: 8M]
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    idle_memory: Option<u32>,

    /// Seconds for which a client may leave a read reply unread before its connection is cut [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    unread_reply_seconds: Option<u64>,
}

impl FileOptions {
    /// These options, and those of `earlier` where these leave the choice.
    pub fn or(self, earlier: Self) -> Self {
        FileOptions { memory: self.memory.or(earlier.memory), threads: self.threads.or(earlier.threads) }
    }

    /// The options of each of so many file servers on one machine. More threads than cores only wake each other: a byte and a
    /// small request cost a tenth more with twice as many.
    pub fn shared_by(self, servers: usize, cores: usize) -> Self {
        let each = u16::try_from(cores / servers.max(1)).unwrap_or(u16::MAX).clamp(1, 1024);
        FileOptions { threads: self.threads.or(Some(each)), ..self }
    }

    /// The options that are given, by the names of their flags.
    pub fn given(self) -> impl Iterator<Item = (&'static str, u64)> {
        let MemoryOptions { write_memory, reply_memory, client_reply_memory, idle_memory, unread_reply_seconds } =
            self.memory;
        let options = [
            ("write-memory", write_memory.map(u64::from)),
            ("reply-memory", reply_memory.map(u64::from)),
            ("client-reply-memory", client_reply_memory.map(u64::from)),
            ("idle-memory", idle_memory.map(u64::from)),
            ("unread-reply-seconds", unread_reply_seconds),
            ("threads", self.threads.map(u64::from)),
        ];
        options.into_iter().filter_map(|(flag, value)| Some((flag, value?)))
    }

    /// The flags of `pfs server file`.
    pub fn arguments(self) -> impl Iterator<Item = OsString> {
        self.given().flat_map(|(flag, value)| [format!("--{flag}").into(), value.to_string().into()])
    }
}

impl MemoryOptions {
    fn or(self, earlier: Self) -> Self {
        MemoryOptions {
            write_memory: self.write_memory.or(earlier.write_memory),
            reply_memory: self.reply_memory.or(earlier.reply_memory),
            client_reply_memory: self.client_reply_memory.or(earlier.client_reply_memory),
            idle_memory: self.idle_memory.or(earlier.idle_memory),
            unread_reply_seconds: self.unread_reply_seconds.or(earlier.unread_reply_seconds),
        }
    }

    /// Sets what is given.
    pub fn apply(self, config: &mut pfs_file_server::Config) {
        config.write_bytes_max = self.write_memory.unwrap_or(config.write_bytes_max);
        config.reply_bytes_max = self.reply_memory.unwrap_or(config.reply_bytes_max);
        config.client_reply_bytes_max = self.client_reply_memory.unwrap_or(config.client_reply_bytes_max);
        config.idle_buffer_bytes_max = self.idle_memory.map_or(config.idle_buffer_bytes_max, |bytes| bytes as usize);
        config.unread_reply_max = self.unread_reply_seconds.map_or(config.unread_reply_max, Duration::from_secs);
    }
}

/// A size between a request and 4 GiB.
fn parse_memory(text: &str) -> Result<u32, String> {
    let bytes = parse_size(text)?;
    let bytes = u32::try_from(bytes).map_err(|_| "at most 4 GiB less a byte".to_owned())?;
    if bytes < MEMORY_MIN { Err("at least 1 MiB".to_owned()) } else { Ok(bytes) }
}

const MEMORY_MIN: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: FileOptions,
    }

    fn parse(line: &str) -> FileOptions {
        Line::try_parse_from(["pfs"].into_iter().chain(line.split_whitespace())).unwrap().options
    }

    #[test]
    fn memory_has_bounds() {
        assert_eq!(parse_memory("32M"), Ok(32 << 20));
        assert!(parse_memory("1000").is_err() && parse_memory("4G").is_err() && parse_memory("much").is_err());
    }

    #[test]
    fn what_is_kept_is_what_a_server_is_given() {
        let all = "--write-memory 2M --reply-memory 3M --client-reply-memory 1M --idle-memory 4M \
                   --unread-reply-seconds 9 --threads 2";
        let options = parse(all);
        assert_eq!(options.given().count(), 6);
        let kept: FileOptions = serde_json::from_str(&serde_json::to_string(&options).unwrap()).unwrap();
        let arguments: Vec<String> = kept.arguments().map(|word| word.into_string().unwrap()).collect();
        assert_eq!(parse(&arguments.join(" ")), options);
        assert_eq!(serde_json::from_str::<FileOptions>("{}").unwrap(), FileOptions::default());
    }

    #[test]
    fn new_options_replace_those_of_before_one_by_one() {
        let both = parse("--write-memory 5M").or(parse("--write-memory 2M --idle-memory 4M --threads 2"));
        assert_eq!(both, parse("--write-memory 5M --idle-memory 4M --threads 2"));
    }

    #[test]
    fn cores_are_divided_among_the_servers_of_a_machine() {
        let threads = |given: Option<u16>, servers, cores| {
            FileOptions { threads: given, ..FileOptions::default() }.shared_by(servers, cores).threads
        };
        assert_eq!(threads(None, 4, 64), Some(16));
        assert_eq!(threads(None, 4, 2), Some(1));
        assert_eq!(threads(None, 1, 2), Some(2));
        assert_eq!(threads(Some(3), 4, 2), Some(3));
    }
}
