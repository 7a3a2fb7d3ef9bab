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
    pub environment: Vec<(&'static str, String)>,
    /// Who does it.
    pub contenders: &'static [Contender],
    /// Those of them whose figures a target is judged by.
    pub judged: &'static [Contender],
}

impl Workload {
    fn new(name: &'static str, arguments: String, contenders: &'static [Contender]) -> Self {
        let environment = Vec::new();
        let (setting, ranks, program) = (0, RANKS, Program::Ior);
        Workload { name, setting, ranks, program, arguments, environment, contenders, judged: &[] }
    }

    fn judged(self, judged: &'static [Contender]) -> Self {
        Workload { judged, ..self }
    }

    /// For messages.
    pub fn title(&self) -> String {
        if self.setting > 0 { format!("{} {}", self.name, self.setting) } else { self.name.to_owned() }
    }
}

const RANKS: u32 = 4;

use Contender::{
    DiskSyncs, Gluster, MpichDisk, MpichMemory, OpenDisk, OpenMemory, Pfs, PfsClient, PfsDisk, PfsMpich, PfsNoCache,
    RawReductions, RawTcp,
};

const ALL: &[Contender] = &[Pfs, PfsMpich, PfsClient, OpenMemory, OpenDisk, MpichMemory, MpichDisk, Gluster];
const BY_MPI: &[Contender] = &[Pfs, OpenMemory, OpenDisk, MpichMemory, Gluster];
const WITH_RAW: &[Contender] = &[Pfs, RawTcp];
const FEW: &[Contender] = &[Pfs, OpenMemory, OpenDisk, Gluster];

/// All workloads; quick ones have a sixteenth of the data.
pub fn workloads(quick: bool) -> Vec<Workload> {
    let less = if quick { 16 } else { 1 };
    let mib = |mib: u64| format!("{}k", mib * 1024 / less);
    let pieces = |count: u64| count / less;
    let caches = &[Pfs, PfsNoCache];
    let random_kib = 8 * 1024 / less;
    let mut all = vec![
        Workload::new("easy", format!("--preset easy -w -r -b {}", mib(128)), ALL).judged(&[Pfs]),
        // The first of two writes is not looked at: it makes the pages that the second one finds. The files stay for `large`,
        // which removes them.
        large("large-overwrite", format!("-F -g -e -w -k -E -i 2 -t 2m -b {}", mib(128))),
        large("large", format!("-F -C -g -e -w -r -t 2m -b {}", mib(128))),
        // 357 pieces are 16 MiB.
        Workload::new("hard-collective", hard(pieces(1428), "-c -V --segmentsPerCall 357"), BY_MPI).judged(&[Pfs]),
        Workload::new("hard-single", hard(pieces(1428), "-c"), &[Pfs, RawReductions, OpenMemory])
            .judged(&[Pfs, RawReductions]),
        Workload::new("hard-independent", hard(pieces(1428), ""), BY_MPI).judged(&[Pfs]),
        Workload::new("strided", format!("--preset strided -w -r -s {}", pieces(1024)), FEW),
        Workload::new("checkpoint-3d", format!("--preset checkpoint-3d -w -r -s {}", 8.max(8 / less)), BY_MPI),
        Workload::new("random", random(random_kib), &[Pfs, PfsNoCache, OpenMemory, OpenDisk, Gluster]).judged(caches),
        Workload {
            environment: vec![("PFS_CACHE_BYTES", (random_kib * 1024 / 4).to_string())],
            ..Workload::new("random-4x", random(random_kib), caches).judged(caches)
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
    for servers in [1, 2, 4] {
        let arguments = format!("-C -g -e -w -r -t 4m -b {}", mib(64));
        let environment = vec![("IOR_HINT__MPI__striping_factor", servers.to_string())];
        all.push(Workload { setting: servers, environment, ..Workload::new("servers", arguments, &[Pfs]) });
    }
    let names = format!("-F -n {} -N 1", 1600 / less);
    let contenders = &[Pfs, PfsClient, PfsDisk, DiskSyncs, OpenMemory, OpenDisk, Gluster];
    let names = Workload::new("names", names, contenders).judged(&[Pfs, PfsDisk, DiskSyncs]);
    all.push(Workload { program: Program::Mdtest, ..names });
    all
}

/// A file for each rank, whole on a server that no other rank has, as raw TCP has it and as a file of one rank is usually laid
/// out. How it is with the default layout says `easy`.
fn large(name: &'static str, arguments: String) -> Workload {
    let environment = vec![("IOR_HINT__MPI__striping_factor", "1".to_owned())];
    Workload { environment, ..Workload::new(name, arguments, WITH_RAW).judged(WITH_RAW) }
}

fn hard(segments: u64, more: &str) -> String {
    format!("--preset hard -w -r -s {segments} {more}")
}

fn random(kib: u64) -> String {
    format!("--preset random -w -b {kib}k")
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

    /// Of each workload that a target is about, those take part that it compares.
    #[test]
    fn targets_have_their_workloads_and_contenders() {
        let all = workloads(false);
        for (name, judged) in [
            ("easy", &[Pfs][..]),
            ("large", &[Pfs, RawTcp]),
            ("large-overwrite", &[Pfs, RawTcp]),
            ("hard-collective", &[Pfs]),
            ("hard-single", &[Pfs, RawReductions]),
            ("hard-independent", &[Pfs]),
            ("random", &[Pfs, PfsNoCache]),
            ("random-4x", &[Pfs, PfsNoCache]),
            ("names", &[Pfs, PfsDisk, DiskSyncs]),
        ] {
            let workload = all.iter().find(|workload| workload.name == name).unwrap();
            assert_eq!(workload.judged, judged, "{name}");
            assert_eq!(workload.ranks, 4, "{name}");
            assert!(judged.iter().all(|contender| workload.contenders.contains(contender)), "{name}");
        }
        let judged = all.iter().filter(|workload| !workload.judged.is_empty()).count();
        assert_eq!(judged, 9, "a workload is judged that no target is about");
    }

    /// A collective call of the hard workload that is held against `easy` carries 16 MiB of each rank.
    #[test]
    fn calls_are_as_large_as_their_target_says() {
        let all = workloads(false);
        let collective = all.iter().find(|workload| workload.name == "hard-collective").unwrap();
        let mut words = collective.arguments.split(' ').skip_while(|word| *word != "--segmentsPerCall");
        let pieces: u64 = words.nth(1).unwrap().parse().unwrap();
        assert!(pieces * 47_008 >= 16 << 20);
        let random = all.iter().find(|workload| workload.name == "random-4x").unwrap();
        assert_eq!(random.environment, [("PFS_CACHE_BYTES", (2u64 << 20).to_string())]);
    }
}
