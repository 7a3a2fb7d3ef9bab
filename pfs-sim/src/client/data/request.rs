//! Requests to file servers and their answers.

use pfs_core::extent::Extent;
use pfs_core::fence::Refused;
use pfs_core::ids::Stamp;

/// A request to a file server.
#[derive(Clone, Debug)]
pub struct DataRequest {
    /// Who sends it.
    pub client: usize,
    /// Which of its processes.
    pub life: u64,
    /// Names it in the answer.
    pub number: u64,
    /// Where to.
    pub server: usize,
    /// Of which file.
    pub file: usize,
    /// Under whose token.
    pub stamp: Stamp,
    /// The number for drains.
    pub sequence: u64,
    /// What is to be done.
    pub body: DataBody,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum DataBody {
    /// Write these bytes.
    Write(Vec<(Extent, Vec<u8>)>),
    /// Read these ranges.
    Read(Vec<Extent>),
    /// Make everything durable.
    Commit,
    /// Make sure that a write up to `sequence` is not applied any more.
    Drain,
}

/// An answer of a file server.
#[derive(Clone, Debug)]
pub struct DataAnswer {
    /// The request's; 0 for a drain.
    pub number: u64,
    /// The server's start.
    pub instance: u64,
    /// What became of it.
    pub body: AnswerBody,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub enum AnswerBody {
    /// It is done.
    Done { read: Vec<u8> },
    /// It is refused.
    Refused(Refused),
    /// The server serves nobody now.
    NoLease,
    /// The connection broke.
    Broken,
    /// The drain is in force.
    Drained { server: usize, stamp: Stamp, sequence: u64 },
}

impl DataRequest {
    /// Bytes that it reads or writes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.pieces().map(|(range, _)| range.len() as usize).sum()
    }

    /// For the trace.
    pub fn text(&self) -> String {
        let DataRequest { file, sequence, stamp, .. } = self;
        let ranges: Vec<Extent> = self.pieces().map(|(range, _)| range).collect();
        match self.body {
            DataBody::Write(_) => format!("write #{sequence} {ranges:?} of file {} under {stamp}", file + 1),
            DataBody::Read(_) => format!("read #{sequence} {ranges:?} of file {}", file + 1),
            DataBody::Commit => "commit".into(),
            DataBody::Drain => format!("drain up to #{sequence} of {stamp}"),
        }
    }

    /// What it writes, or what it reads, in order.
    pub fn pieces(&self) -> impl Iterator<Item = (Extent, Option<&[u8]>)> {
        let (written, read) = match &self.body {
            DataBody::Write(pieces) => (pieces.as_slice(), [].as_slice()),
            DataBody::Read(ranges) => ([].as_slice(), ranges.as_slice()),
            DataBody::Commit | DataBody::Drain => ([].as_slice(), [].as_slice()),
        };
        let written = written.iter().map(|(range, bytes)| (*range, Some(bytes.as_slice())));
        written.chain(read.iter().map(|range| (*range, None)))
    }
}
