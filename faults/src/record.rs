//! What a worker tells on its standard output: one line for each thing, when it happens.
//!
//! ```text
//! session 12345 65537 8 4711     at 12345 ns session 65537 began, as client-8 in process 4711
//! begin 12346 1 write 64 128     its operation 1 begins: 128 units from unit 64 on
//! end 12399 1 ok
//! begin 12400 2 read 0 4
//! end 12444 2 ok 0+3=65537.1 3!00ff…   units 0 to 2 are of one write, unit 3 is of none: its bytes
//! end 12444 2 short 2            the file had ended after two units
//! end 12500 3 error NoSession text…
//! lost 12501 text…               the session has ended; all that was not synced may be lost
//! done 12600                     asked to end; everything is synced
//! ```
//!
//! A line without its end is of a worker that was killed and counts as not written.

use crate::unit::{UNIT_BYTES, WriteId, decode};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;

/// Bits of a writer number that count a worker's sessions; above them is the worker's number.
pub const SESSION_BITS: u32 = 16;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Writes units.
    Write,
    /// Reads units.
    Read,
    /// Makes all writes of the session durable.
    Sync,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Write => "write",
            Kind::Read => "read",
            Kind::Sync => "sync",
        }
    }
}

/// A part of what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Units of one write.
    Run {
        /// The first unit.
        first: u64,
        /// How many.
        count: u64,
        /// Whose they are.
        write: WriteId,
    },
    /// A unit that is of no single write.
    Mixed {
        /// The unit.
        index: u64,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With success; a read saw this.
    Ok(Vec<Seen>),
    /// A read ended after this many units.
    Short(u64),
    /// With an error: its kind and text.
    Error(String),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A session began.
    Session {
        /// The writer number of its writes.
        writer: u64,
        /// Its client id; 0 if the worker does not know.
        client: u64,
        /// The worker's process id.
        process: u64,
    },
    /// An operation began.
    Begin {
        /// Its number in the session, from 1; a write's sequence.
        operation: u64,
        /// What it does.
        kind: Kind,
        /// The first unit.
        first: u64,
        /// How many.
        count: u64,
    },
    /// An operation ended.
    End {
        /// Its number.
        operation: u64,
        /// How.
        outcome: Outcome,
    },
    /// The session has ended for good.
    Lost(String),
    /// All is synced, and the worker ends.
    Done,
}

/// The line of a record.
pub fn line(time_ns: u64, record: &Record) -> String {
    match record {
        Record::Session { writer, client, process } => format!("session {time_ns} {writer} {client} {process}"),
        Record::Begin { operation, kind, first, count } => {
            format!("begin {time_ns} {operation} {} {first} {count}", kind.name())
        }
        Record::End { operation, outcome } => match outcome {
            Outcome::Ok(seen) => format!("end {time_ns} {operation} ok{}", seen_text(seen)),
            Outcome::Short(units) => format!("end {time_ns} {operation} short {units}"),
            Outcome::Error(text) => format!("end {time_ns} {operation} error {}", one_line(text)),
        },
        Record::Lost(text) => format!("lost {time_ns} {}", one_line(text)),
        Record::Done => format!("done {time_ns}"),
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

fn seen_text(seen: &[Seen]) -> String {
    let mut text = String::new();
    for part in seen {
        let written = match part {
            Seen::Run { first, count, write: id } => write!(text, " {first}+{count}={id}"),
            Seen::Mixed { index, bytes } => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                write!(text, " {index}!{hex}")
            }
        };
        written.expect("a string takes everything");
    }
    text
}

/// What bytes from unit `first` on show.
pub fn look_at(bytes: &[u8], first: u64) -> Vec<Seen> {
    let mut seen = Vec::new();
    for (index, unit) in (first..).zip(bytes.chunks(UNIT_BYTES)) {
        match (decode(unit, index), seen.last_mut()) {
            (Some(id), Some(Seen::Run { count, write, .. })) if *write == id => *count += 1,
            (Some(write), _) => seen.push(Seen::Run { first: index, count: 1, write }),
            (None, _) => seen.push(Seen::Mixed { index, bytes: unit.to_vec() }),
        }
    }
    seen
}

/// The time and the record of a line.
pub fn parse(text: &str) -> Result<(u64, Record)> {
    parse_words(text).with_context(|| format!("a worker said {text:?}"))
}

fn parse_words(text: &str) -> Result<(u64, Record)> {
    let (name, rest) = text.split_once(' ').context("one word")?;
    let (time, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut words = rest.splitn(3, ' ');
    let record = match name {
        "session" => Record::Session {
            writer: number(words.next())?,
            client: number(words.next())?,
            process: number(words.next())?,
        },
        "begin" => {
            let operation = number(words.next())?;
            let kind = match words.next() {
                Some("write") => Kind::Write,
                Some("read") => Kind::Read,
                Some("sync") => Kind::Sync,
                other => bail!("an operation {other:?}"),
            };
            let (first, count) = words.next().and_then(|rest| rest.split_once(' ')).context("no range")?;
            Record::Begin { operation, kind, first: first.parse()?, count: count.parse()? }
        }
        "end" => {
            let operation = number(words.next())?;
            let outcome = match (words.next(), words.next().unwrap_or_default()) {
                (Some("ok"), seen) => Outcome::Ok(seen.split_whitespace().map(parse_seen).collect::<Result<_>>()?),
                (Some("short"), units) => Outcome::Short(units.parse()?),
                (Some("error"), text) => Outcome::Error(text.to_owned()),
                (other, _) => bail!("an outcome {other:?}"),
            };
            Record::End { operation, outcome }
        }
        "lost" => Record::Lost(rest.to_owned()),
        "done" => Record::Done,
        _ => bail!("an unknown record"),
    };
    Ok((time.parse()?, record))
}

fn number(word: Option<&str>) -> Result<u64> {
    Ok(word.context("a number is missing")?.parse()?)
}

fn parse_seen(word: &str) -> Result<Seen> {
    if let Some((index, hex)) = word.split_once('!') {
        let byte = |at: usize| hex.get(at..at + 2).map(|two| u8::from_str_radix(two, 16));
        let bytes = (0..hex.len()).step_by(2).map(|at| Ok(byte(at).context("half a byte")??)).collect::<Result<_>>()?;
        return Ok(Seen::Mixed { index: index.parse()?, bytes });
    }
    let (range, id) = word.split_once('=').context("no write")?;
    let ((first, count), (writer, sequence)) =
        range.split_once('+').zip(id.split_once('.')).context("no range or no write")?;
    let write = WriteId { writer: writer.parse()?, sequence: sequence.parse()? };
    Ok(Seen::Run { first: first.parse()?, count: count.parse()?, write })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::encode_all;

    #[test]
    fn lines_travel_there_and_back() {
        let id = WriteId { writer: 65_537, sequence: 3 };
        let mut bytes = encode_all(id, 10, 3);
        bytes.extend(encode_all(WriteId::default(), 13, 1));
        bytes[70] ^= 1;
        let seen = look_at(&bytes, 10);
        assert_eq!(seen.len(), 4);
        for record in [
            Record::Session { writer: 65_537, client: 8, process: 4711 },
            Record::Begin { operation: 3, kind: Kind::Write, first: 10, count: 3 },
            Record::End { operation: 3, outcome: Outcome::Ok(vec![]) },
            Record::End { operation: 4, outcome: Outcome::Ok(seen) },
            Record::End { operation: 5, outcome: Outcome::Short(2) },
            Record::End { operation: 6, outcome: Outcome::Error("NoSession it is over".to_owned()) },
            Record::Lost("the session is gone".to_owned()),
            Record::Done,
        ] {
            assert_eq!(parse(&line(77, &record)).unwrap(), (77, record));
        }
        for nonsense in
            ["", "end", "begin 1 2 write", "end 1 2 maybe", "session x 1 2 3", "session 1 2 3", "end 1 2 ok 0+1"]
        {
            assert!(parse(nonsense).is_err(), "{nonsense}");
        }
    }
}
