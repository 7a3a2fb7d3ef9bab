//! mpi4py's own tests of MPI-IO, as they are released, and an example with numpy.
//!
//! The tests make temporary files and open them; the map of names leads those to the servers.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::job::{Ground, Side};
use crate::mpi::Mpi;
use crate::python::mpi4py;
use crate::test::findings::Findings;
use crate::workspace;

const LIMIT: Duration = Duration::from_secs(400);
/// What the example says, on any number of ranks.
const FIELD: &str = "the field of 120 x 90 has the sum 64740600";

/// Runs the tests on each number of ranks with the library, and the example on both sides.
pub fn run(ground: &Ground<'_>, findings: &mut Findings) -> Result<()> {
    let python = mpi4py::interpreter(ground.mpi)?;
    let groups: &[u32] = if ground.mpi == Mpi::Open { &[1, 2, 3] } else { &[1, 2] };
    for ranks in groups {
        findings.check(&format!("mpi4py {}, test_io, {}, {ranks} ranks", mpi4py::VERSION, ground.mpi.name()), || {
            let temporary = tempfile::tempdir_in(ground.path(""))?;
            let mut command = ground.launch(Side::Ours, *ranks);
            command.arg(&python).args(["-m", "unittest", "test_io"]).current_dir(mpi4py::tests()?);
            command.env("TMPDIR", temporary.path());
            let map = format!("{}=pfs:/mpi4py-{}-{ranks}", temporary.path().display(), ground.mpi.name());
            command.env("PFS_MPIIO_MAP", map);
            let finished = ground.run("test_io", command, LIMIT)?;
            let passed = passed(&finished.stderr);
            ensure!(passed == *ranks as usize, "{passed} ranks said that all passed:{}", finished.indented_output());
            ensure_ours(temporary.path())?;
            Ok(closing_line(&finished.stderr))
        });
    }
    findings.check(&format!("numpy, {}, {} ranks", ground.mpi.name(), ground.ranks), || {
        // MPICH 4.0's own views end this program: "Out of memory in file adio/common/flatten.c".
        let sides: &[Side] = if ground.mpi == Mpi::Open { &Side::BOTH } else { &[Side::Ours] };
        for side in sides {
            let mut command: Command = ground.launch(*side, ground.ranks);
            command
                .arg(&python)
                .arg(workspace::root()?.join("examples/python/field.py"))
                .arg(ground.file(*side, "field"));
            let said = ground.run("field.py", command, LIMIT)?.stdout;
            ensure!(said.trim() == FIELD, "{} said {said:?}", side.name());
        }
        Ok(FIELD.to_owned())
    });
    Ok(())
}

/// The tests make their files locally, and open those names to be deleted on close: what is left and empty was never opened there.
fn ensure_ours(folder: &Path) -> Result<()> {
    let mut left = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("mpi4py-") {
            ensure!(entry.metadata()?.len() == 0, "{} has bytes", entry.path().display());
            left += 1;
        }
    }
    ensure!(left > 0, "MPI's own implementation was used: it has deleted the tests' files");
    Ok(())
}

/// How many ranks said that all passed. They write to one stream, and their lines may run into each other.
fn passed(output: &str) -> usize {
    if output.contains("Ran ") { output.matches("OK").count() } else { 0 }
}

/// What one of them said of the number of tests.
fn closing_line(output: &str) -> String {
    let said = output.lines().filter(|line| line.starts_with("Ran ") || line.starts_with("OK"));
    said.take(2).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_says_how_it_went() {
        let output = "...\nRan 50 tests in 2.1s\n\nOK (skipped=2)OK\n\n";
        assert_eq!(passed(output), 2);
        assert_eq!(passed("OK"), 0, "nothing was run");
        assert_eq!(
            closing_line("Ran 50 tests in 2.1s\n\nOK (skipped=2)\nOK\n"),
            "Ran 50 tests in 2.1s: OK (skipped=2)"
        );
    }
}
