//! What is done.

use super::contender::Contender;

/// Which program does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Bytes of files.
    Ior,
    /// Names.
    Mdtest,
}

/// A workload, with the contenders that can do it.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Its name in figures.
    pub name: &'static str,
    /// The number that is varied; 0 for none.
    pub setting: u64,
    /// Ranks.
    pub ranks: u32,
    /// Which program.
    pub program: Program,
    /// The program's arguments.
    pub arguments: String,
    /// The program's environment.
    pub environment: Vec<(&'static str, &'static str)>,
    /// Who does it.
    pub contenders: &'static [Contender],
}

impl Workload {
    fn new(name: &'static str, arguments: String, contenders: &'static [Contender]) -> Self {
        let environment = Vec::new();
        Workload { name, setting: 0, ranks: RANKS, program: Program::Ior, arguments, environment, contenders }
    }

    /// For messages.
    pub fn title(&self) -> String {
        if self.setting > 0 { format!("{} {}", self.name, self.setting) } else { self.name.to_owned() }
    }
}

const RANKS: u32 = 4;

use Contender::{
    Gluster, MpichDisk, MpichMemory, OpenDisk, OpenMemory, Pfs, PfsClient, PfsDisk, PfsMpich, PfsNoCache, RawTcp,
};

const ALL: &[Contender] = &[Pfs, PfsMpich, PfsClient, OpenMemory, OpenDisk, MpichMemory, MpichDisk, Gluster];
const BY_MPI: &[Contender] = &[Pfs, OpenMemory, OpenDisk, MpichMemory, Gluster];
const FEW: &[Contender] = &[Pfs, OpenMemory, OpenDisk, Gluster];

/// All workloads; quick ones have a sixteenth of the data.
pub fn workloads(quick: bool) -> Vec<Workload> {
    let less = if quick { 16 } else { 1 };
    let mib = |mib: u64| format!("{}k", mib * 1024 / less);
    let pieces = |count: u64| count / less;
    let mut all = vec![
        Workload::new("easy", format!("--preset easy -w -r -b {}", mib(128)), ALL),
        // One server for each rank, as raw TCP has it; the others' striping is theirs.
        Workload::new("large", format!("-F -C -g -e -w -r -t 2m -b {}", mib(128)), &[Pfs, RawTcp]),
        Workload::new("hard-collective", hard(pieces(1428), "-c -V --segmentsPerCall 357"), BY_MPI),
        Workload::new("hard-independent", hard(pieces(1428), ""), BY_MPI),
        Workload::new("strided", format!("--preset strided -w -r -s {}", pieces(1024)), FEW),
        Workload::new("checkpoint-3d", format!("--preset checkpoint-3d -w -r -s {}", 8.max(8 / less)), BY_MPI),
        Workload::new("random", random(less, 8), &[Pfs, PfsNoCache, OpenMemory, OpenDisk, Gluster]),
        Workload {
            environment: vec![("PFS_CACHE_BYTES", "2097152")],
            ..Workload::new("random-4x", random(less, 8), &[Pfs, PfsNoCache])
        },
    ];
    for (bytes, size) in [(4u64 << 10, 4), (64 << 10, 32), (1 << 20, 64), (16 << 20, 128)] {
        let block = (size * (1 << 20) / less).max(bytes);
        let arguments = format!("-C -g -e -w -r -t {bytes} -b {block}");
        all.push(Workload { setting: bytes, ..Workload::new("transfer", arguments, FEW) });
    }
    for ranks in [1, 2, 4] {
        let arguments = format!("-C -g -e -w -r -t 1m -b {}", mib(64));
        let workload = Workload::new("ranks", arguments, &[Pfs, OpenMemory, Gluster]);
        all.push(Workload { setting: u64::from(ranks), ranks, ..workload });
    }
    for (servers, factor) in [(1, "1"), (2, "2"), (4, "4")] {
        let arguments = format!("-C -g -e -w -r -t 4m -b {}", mib(64));
        let environment = vec![("IOR_HINT__MPI__striping_factor", factor)];
        all.push(Workload { setting: servers, environment, ..Workload::new("servers", arguments, &[Pfs]) });
    }
    let names = format!("-F -n {} -N 1", 1600 / less);
    let contenders = &[Pfs, PfsClient, PfsDisk, OpenMemory, OpenDisk, Gluster];
    all.push(Workload { program: Program::Mdtest, ..Workload::new("names", names, contenders) });
    all
}

fn hard(segments: u64, more: &str) -> String {
    format!("--preset hard -w -r -s {segments} {more}")
}

fn random(less: u64, mib: u64) -> String {
    format!("--preset random -w -b {}k", mib * 1024 / less)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_workload_has_a_name_of_its_own_and_ours_takes_part() {
        for quick in [false, true] {
            let all = workloads(quick);
            let titles: BTreeSet<String> = all.iter().map(Workload::title).collect();
            assert_eq!(titles.len(), all.len());
            assert!(all.iter().all(|workload| workload.contenders.contains(&Pfs)));
        }
    }
}
