//! What does not depend on MPI is compiled once: the folder of MPICH's build gets it from that of Open MPI's.
//!
//! Cargo knows what it has made by package, features, profile and the times of the sources, and the folder is no part of that.
//! Both builds name the same packages, so that MPICH's finds there what it would make. What it does not find, it makes.
//!
//! Invariants: nothing that depends on MPI is taken, because cargo does not see for which MPI it was made; what cargo and build
//! scripts change in place is copied, and only what compilers replace as a whole is linked; what cargo knows of a file comes
//! after the file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::mpi::Mpi;
use crate::step::Step;
use crate::workspace;

/// The folder of a target directory that unoptimised builds are in.
const PROFILE: &str = "debug";
/// What cargo knows of its units, a folder for each: PACKAGE-HASH.
const KNOWN: &str = ".fingerprint";
const COPY_LIMIT: Duration = Duration::from_secs(300);

/// Takes what Open MPI's build has made.
pub fn take() -> Result<()> {
    let from = Mpi::Open.target_directory()?.join(PROFILE);
    let to = Mpi::Mpich.target_directory()?.join(PROFILE);
    let dependent = workspace::depending_on_mpi()?;
    let all = names(&from.join(KNOWN))?;
    let units: BTreeSet<&str> =
        all.iter().map(String::as_str).filter(|unit| !dependent.contains(package(unit))).collect();
    let hashes: BTreeSet<&str> = units.iter().map(|unit| hash(unit)).collect();
    let is_wanted = |file: &str| is_output(file) && hashes.contains(hash(file));
    for folder in ["deps", "examples"] {
        copy(&from.join(folder), is_wanted, &to.join(folder), &["--link", "--remove-destination"])?;
    }
    for folder in ["build", KNOWN] {
        copy(&from.join(folder), |unit| units.contains(unit), &to.join(folder), &[])?;
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// The package of a unit.
fn package(unit: &str) -> &str {
    unit.rsplit_once('-').map_or(unit, |(package, _)| package)
}

/// The hash in the name of a unit or of a file that it has made; no other name has one.
fn hash(name: &str) -> &str {
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    stem.rsplit_once('-').map_or("", |(_, hash)| hash)
}

/// Whether a unit has made the file for others; lists of sources are only for cargo, which has read them.
fn is_output(file: &str) -> bool {
    !file.ends_with(".d")
}

/// Copies what is wanted, with its times, which say what is newer than what.
fn copy(from: &Path, is_wanted: impl Fn(&str) -> bool, to: &Path, flags: &[&str]) -> Result<()> {
    let wanted: Vec<String> = names(from)?.into_iter().filter(|name| is_wanted(name)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    let mut command = Command::new("cp");
    command.current_dir(from).arg("--archive").args(flags).arg("--target-directory").arg(to).arg("--").args(wanted);
    Step::new("cp", command, COPY_LIMIT).run().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_the_unit_with_their_hash() {
        assert_eq!(
            (package("mpi-sys-12ecc6ca31e143e7"), hash("mpi-sys-12ecc6ca31e143e7")),
            ("mpi-sys", "12ecc6ca31e143e7")
        );
        assert_eq!(hash("libpfs_core-07068dc3e2756a3b.rlib"), "07068dc3e2756a3b");
        assert_eq!(hash("token_protocol-07068dc3e2756a3b"), "07068dc3e2756a3b");
        assert_eq!(hash("libpfs_mpiio_capi.so"), "", "made without a hash");
        assert!(is_output("x-07068dc3e2756a3b") && !is_output("x-07068dc3e2756a3b.d"));
    }
}
