//! What goes wrong in a round, drawn from its seed.

use crate::network::Node;
use crate::random::{Random, mix};
use pfs_client::DataPath;
use std::fmt;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum FaultKind {
    /// A file server is killed and starts again.
    KillFileServer,
    /// The metadata server is killed and starts again.
    KillMetadata,
    /// A client stands still for longer than its lease, and goes on as a zombie.
    StopClient,
    /// A client is killed.
    KillClient,
    /// A file server stands still for longer than its lease.
    StopFileServer,
    /// A client and the metadata server do not reach each other.
    CutClientMetadata,
    /// The metadata server stands still.
    StopMetadata,
    /// A client reaches nobody.
    CutClient,
    /// A file server and the metadata server do not reach each other.
    CutFileServerMetadata,
    /// A client and a file server do not reach each other.
    CutClientFileServer,
    /// A client stands still for less than its lease.
    PauseClient,
    /// All servers are killed at once and start again.
    KillServers,
    /// A rank of the MPI job is killed.
    KillRank,
    /// A rank of the MPI job stands still for longer than its lease, and goes on as a zombie.
    StopRank,
}

impl FaultKind {
    /// All of them, in the order in which rounds take them first.
    pub const ALL: [FaultKind; 14] = [
        FaultKind::KillFileServer,
        FaultKind::KillMetadata,
        FaultKind::StopClient,
        FaultKind::KillClient,
        FaultKind::StopFileServer,
        FaultKind::CutClientMetadata,
        FaultKind::StopMetadata,
        FaultKind::CutClient,
        FaultKind::CutFileServerMetadata,
        FaultKind::CutClientFileServer,
        FaultKind::PauseClient,
        FaultKind::KillServers,
        FaultKind::KillRank,
        FaultKind::StopRank,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::KillFileServer => "kill-file-server",
            FaultKind::KillMetadata => "kill-metadata",
            FaultKind::StopClient => "stop-client",
            FaultKind::KillClient => "kill-client",
            FaultKind::StopFileServer => "stop-file-server",
            FaultKind::CutClientMetadata => "cut-client-metadata",
            FaultKind::StopMetadata => "stop-metadata",
            FaultKind::CutClient => "cut-client",
            FaultKind::CutFileServerMetadata => "cut-file-server-metadata",
            FaultKind::CutClientFileServer => "cut-client-file-server",
            FaultKind::PauseClient => "pause-client",
            FaultKind::KillServers => "kill-servers",
            FaultKind::KillRank => "kill-rank",
            FaultKind::StopRank => "stop-rank",
        }
    }

    /// Whether a client may lose its session by it.
    pub fn may_end_a_session(self) -> bool {
        matches!(
            self,
            FaultKind::StopClient | FaultKind::KillClient | FaultKind::CutClientMetadata | FaultKind::CutClient
        )
    }

    /// Whether it is done to a single rank.
    pub fn is_of_ranks(self) -> bool {
        matches!(self, FaultKind::KillRank | FaultKind::StopRank)
    }

    /// How long it takes, in percent of the lease.
    fn percent_of_lease(self) -> std::ops::Range<u64> {
        match self {
            FaultKind::KillFileServer | FaultKind::KillMetadata | FaultKind::KillServers => 5..180,
            FaultKind::StopClient | FaultKind::StopFileServer | FaultKind::StopRank => 150..250,
            FaultKind::CutClientMetadata | FaultKind::CutClient | FaultKind::CutFileServerMetadata => 50..250,
            FaultKind::CutClientFileServer | FaultKind::StopMetadata => 30..220,
            FaultKind::PauseClient => 5..50,
            FaultKind::KillClient | FaultKind::KillRank => 0..1,
        }
    }
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// To whom.
    pub target: Node,
    /// With a cut between client and file server: which one.
    pub other: usize,
    /// When, in milliseconds from the start of the workload.
    pub at_ms: u64,
    /// For how long.
    pub for_ms: u64,
}

impl Fault {
    fn ends_ms(&self) -> u64 {
        self.at_ms + self.for_ms
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms: {}", self.at_ms, self.kind.name())?;
        match self.kind {
            FaultKind::KillServers => {}
            FaultKind::CutClientFileServer => write!(f, " {} file-{}", self.target, self.other)?,
            _ => write!(f, " {}", self.target)?,
        }
        if self.for_ms > 0 { write!(f, " for {} ms", self.for_ms) } else { Ok(()) }
    }
}

/// How large a round is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// File servers.
    pub file_servers: usize,
    /// Clients at a time.
    pub clients: usize,
    /// Ranks of the MPI job beside them.
    pub ranks: usize,
    /// The lease.
    pub lease_ms: u64,
}

/// How the bytes of a round go to and from the file servers. As seeds follow each other, every kind of fault meets every way.
pub fn data_path(seed: u64) -> DataPath {
    let turn = seed / FaultKind::ALL.len() as u64 + seed;
    DataPath::ALL[usize::try_from(turn % DataPath::ALL.len() as u64).expect("an index")]
}

/// The faults of a round, in order of time.
pub fn faults(seed: u64, size: Size, kinds: &[FaultKind]) -> Vec<Fault> {
    let mut random = Random::new(mix(seed));
    // Seeds that follow each other go through all kinds.
    let first = kinds[usize::try_from(seed % kinds.len() as u64).expect("an index")];
    let mut faults = vec![draw(first, size, &mut random)];
    while faults.len() < 3 && random.once_in(2) && first != FaultKind::KillServers {
        let kind = kinds[usize::try_from(random.below(kinds.len() as u64)).expect("an index")];
        let fault = draw(kind, size, &mut random);
        if kind != FaultKind::KillServers && faults.iter().all(|other| other.target != fault.target) {
            faults.push(fault);
        }
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

fn draw(kind: FaultKind, size: Size, random: &mut Random) -> Fault {
    let index = |random: &mut Random, count: usize| usize::try_from(random.below(count as u64)).expect("an index");
    let target = match kind {
        FaultKind::KillMetadata | FaultKind::StopMetadata | FaultKind::KillServers => Node::Metadata,
        FaultKind::KillFileServer | FaultKind::StopFileServer | FaultKind::CutFileServerMetadata => {
            Node::FileServer(index(random, size.file_servers))
        }
        FaultKind::KillRank | FaultKind::StopRank => Node::Rank(index(random, size.ranks)),
        FaultKind::CutClientMetadata | FaultKind::CutClient | FaultKind::CutClientFileServer => {
            // All ranks have one host.
            match index(random, size.clients + usize::from(size.ranks > 0)) {
                place if place < size.clients => Node::Client(place),
                _ => Node::Ranks,
            }
        }
        _ => Node::Client(index(random, size.clients)),
    };
    let at_ms = random.within(200..1200);
    let for_ms = random.within(kind.percent_of_lease()) * size.lease_ms / 100;
    Fault { kind, target, other: index(random, size.file_servers), at_ms, for_ms }
}

/// Whether two faults are in force at the same time.
pub fn overlap(faults: &[Fault]) -> bool {
    faults.iter().enumerate().any(|(index, one)| {
        faults[index + 1..].iter().any(|other| one.at_ms <= other.ends_ms() && other.at_ms <= one.ends_ms())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { file_servers: 3, clients: 4, ranks: 3, lease_ms: 1000 };

    #[test]
    fn a_seed_gives_always_the_same_and_all_kinds_come() {
        let mut met = std::collections::BTreeSet::new();
        let mut combinations = 0;
        for seed in 0..28 {
            let plan = faults(seed, SIZE, &FaultKind::ALL);
            assert_eq!(plan, faults(seed, SIZE, &FaultKind::ALL));
            met.extend(plan.iter().map(|fault| fault.kind));
            combinations += usize::from(overlap(&plan));
        }
        assert_eq!(met.len(), FaultKind::ALL.len());
        let ways: std::collections::BTreeSet<_> = (0..56).map(|seed| (seed % 14, data_path(seed).name())).collect();
        assert_eq!(ways.len(), 56);
        assert!(combinations > 3, "{combinations}");
        assert!(faults(3, SIZE, &[FaultKind::KillClient]).iter().all(|fault| fault.kind == FaultKind::KillClient));
    }
}
