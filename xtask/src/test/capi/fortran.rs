//! A program in Fortran by each of MPI's three interfaces.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::job::{Ground, Side};
use crate::test::findings::Findings;

const LIMIT: Duration = Duration::from_secs(120);
/// What the interfaces are called, and what the source is compiled with.
const INTERFACES: [(&str, &str); 3] = [("mpif.h", "-DMPIFH"), ("use mpi", "-DUSEMPI"), ("use mpi_f08", "-DUSEMPIF08")];

/// Compiles it three times and runs each on both sides.
pub fn run(ground: &Ground<'_>, findings: &mut Findings) -> Result<()> {
    for (interface, flag) in INTERFACES {
        findings.check(&format!("Fortran, {interface}, {}, {} ranks", ground.mpi.name(), ground.ranks), || {
            // Several types of buffers go to one argument, which interfaces without descriptors can not say.
            let flags = ["-fallow-argument-mismatch", flag];
            let program = ground.compile("mpif90", &["fortran/views.F90"], &format!("views{flag}"), &flags)?;
            let mut said = String::new();
            for side in Side::BOTH {
                let mut command = ground.launch(side, ground.ranks);
                command.arg(&program).arg(ground.file(side, "fortran"));
                if side == Side::Ours {
                    command.env("PFS_MPIIO_TRACE", "files");
                }
                let finished = ground.run("views", command, LIMIT)?;
                said = finished.stdout.trim().to_owned();
                ensure!(said.starts_with("fortran: ") && said.ends_with(" checks"), "it said {said:?}");
                ensure!(side == Side::Theirs || finished.stderr.contains("MPI_File_"), "ours was not called");
            }
            Ok(said)
        });
    }
    Ok(())
}
