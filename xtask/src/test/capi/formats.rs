//! File formats that are written through MPI-IO, by libraries as Debian has them: HDF5 by h5py, and PnetCDF. What is written
//! on the servers is copied out, and must be what the same program leaves in a local file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::SOURCES;
use super::job::{Ground, Side, same_bytes};
use crate::step::Step;
use crate::test::findings::Findings;
use crate::workspace;

const LIMIT: Duration = Duration::from_secs(180);
/// Debian's interpreter, which has Debian's h5py.
const PYTHON: &str = "/usr/bin/python3";
const WRITERS: u32 = 3;
const READERS: u32 = 2;

/// A format's program, and what shows a file as text.
struct Format {
    name: &'static str,
    program: Vec<String>,
    suffix: &'static str,
    dump: &'static str,
    /// The library reads the first bytes of a file by itself, before it opens it by MPI: how many. Then the file has a local
    /// name that leads to the servers, and so many bytes there.
    looks_at: usize,
}

/// Runs both formats.
pub fn run(ground: &Ground<'_>, findings: &mut Findings) -> Result<()> {
    let datasets = workspace::root()?.join(SOURCES).join("hdf5/datasets.py").display().to_string();
    let variables = ground.compile("mpicc", &["pnetcdf/variables.c"], "variables", &["-lpnetcdf"])?;
    let formats = [
        Format { name: "hdf5", program: vec![PYTHON.to_owned(), datasets], suffix: "h5", dump: "h5dump", looks_at: 0 },
        Format {
            name: "pnetcdf",
            program: vec![variables.display().to_string()],
            suffix: "nc",
            dump: "ncmpidump",
            looks_at: 8,
        },
    ];
    for format in formats {
        findings.check(&format!("{}, written by {WRITERS} ranks, read by {READERS}", format.name), || {
            let local = format.written(ground, Side::Theirs)?;
            let ours = format.written(ground, Side::Ours)?;
            same_text(&format.dumped(&local)?, &format.dumped(&ours)?)?;
            same_bytes(&local, &ours)?;
            format.read(ground, Side::Theirs, READERS)?;
            let said = format.read(ground, Side::Ours, READERS)?;
            format.read(ground, Side::Ours, 1)?;
            Ok(said)
        });
    }
    Ok(())
}

impl Format {
    fn file(&self) -> String {
        format!("format.{}", self.suffix)
    }

    fn job(&self, ground: &Ground<'_>, side: Side, ranks: u32, action: &str) -> Command {
        let mut command = ground.launch(side, ranks);
        command.args(&self.program).arg(action);
        if side == Side::Ours && self.looks_at > 0 {
            let mapped = ground.path("mapped");
            command.arg(mapped.join(self.file())).env("PFS_MPIIO_MAP", format!("{}=pfs:/mapped", mapped.display()));
        } else {
            command.arg(ground.file(side, &self.file()));
        }
        command
    }

    /// Where the bytes that were written are, as a local file.
    fn written(&self, ground: &Ground<'_>, side: Side) -> Result<PathBuf> {
        ground.run(self.name, self.job(ground, side, WRITERS, "write"), LIMIT)?;
        if side == Side::Theirs {
            return Ok(ground.file(side, &self.file()).into());
        }
        // Under the same name, which dumps show.
        let copy = ground.path("copied").join(self.file());
        fs::create_dir_all(ground.path("copied"))?;
        let remote = match self.looks_at {
            0 => ground.file(side, &self.file()),
            _ => format!("pfs:/mapped/{}", self.file()),
        };
        ground.copy_out(&remote, &copy)?;
        if self.looks_at > 0 {
            let bytes = fs::read(&copy)?;
            let first = bytes.get(..self.looks_at).context("the file has no beginning")?;
            fs::create_dir_all(ground.path("mapped"))?;
            fs::write(ground.path("mapped").join(self.file()), first)?;
        }
        Ok(copy)
    }

    fn read(&self, ground: &Ground<'_>, side: Side, ranks: u32) -> Result<String> {
        let said = ground.run(self.name, self.job(ground, side, ranks, "check"), LIMIT)?.stdout.trim().to_owned();
        ensure!(said.starts_with(self.name) && said.ends_with(" checks"), "it said {said:?}");
        Ok(said)
    }

    fn dumped(&self, file: &Path) -> Result<String> {
        let mut command = Command::new(self.dump);
        command.arg(file.file_name().unwrap_or_default());
        command.current_dir(file.parent().unwrap_or(Path::new("/")));
        Ok(Step::new(self.dump, command, LIMIT).run()?.stdout)
    }
}

fn same_text(left: &str, right: &str) -> Result<()> {
    ensure!(!left.is_empty(), "nothing was shown");
    let differing = left.lines().zip(right.lines()).find(|(left, right)| left != right);
    ensure!(left == right, "what is shown of the files differs: {differing:?}");
    Ok(())
}
