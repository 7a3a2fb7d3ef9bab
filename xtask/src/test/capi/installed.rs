//! An installation below a temporary prefix: a program is linked by pkg-config, manual pages have no warnings, the modulefile
//! is read by tclsh, and `pfs run` finds the library of the launcher by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::job::{Ground, Side};
use crate::install::{self, Parts};
use crate::step::Step;
use crate::test::findings::Findings;
use crate::workspace::Built;

const LIMIT: Duration = Duration::from_secs(120);
/// The commands of modulefiles, as far as ours use them.
const MODULES: &str = "proc module-whatis {args} {}
proc conflict {args} {}
proc prepend-path {name value} { puts \"$name=$value\" }
proc setenv {name value} { puts \"$name=$value\" }
source [lindex $argv 0]
ModulesHelp
";

/// Installs and looks.
pub fn run(built: &Built, grounds: &[Ground<'_>], findings: &mut Findings) -> Result<()> {
    let home = tempfile::tempdir().context("making a folder for an installation")?;
    let prefix = home.path().join("pfs");
    let libraries = grounds.iter().map(|ground| (ground.mpi, ground.library.clone())).collect();
    install::put(&Parts { pfs: built.program("pfs")?.to_path_buf(), libraries }, &prefix, None)?;
    for ground in grounds {
        let mpi = ground.mpi.name();
        findings.check(&format!("installed: linked by pkg-config, {mpi}"), || linked(ground, &prefix));
        findings.check(&format!("installed: pfs run, {mpi}"), || by_pfs_run(ground, &prefix, home.path()));
    }
    findings.check("installed: manual pages", || manual_pages(&prefix));
    findings.check("installed: modulefile", || modulefile(&prefix, home.path(), grounds.len()));
    Ok(())
}

fn linked(ground: &Ground<'_>, prefix: &Path) -> Result<String> {
    let mut ask = Command::new("pkg-config");
    ask.args(["--cflags", "--libs", &format!("pfs-mpiio-{}", ground.mpi.name())]);
    ask.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    let answer = Step::new("pkg-config", ask, LIMIT).run()?.stdout;
    let flags: Vec<&str> = answer.split_whitespace().collect();
    let program = ground.compile("mpicc", &["c/linked.c"], "linked", &flags)?;
    let mut command = ground.launch(Side::Theirs, ground.ranks);
    ground.cluster.reachable_from(&mut command);
    command.arg(program).arg(ground.file(Side::Ours, "linked"));
    ran(ground, ground.run("linked", command, LIMIT)?.stdout)
}

/// The library is the one beside the program, the servers are the program's own, and what it wrote is copied out.
fn by_pfs_run(ground: &Ground<'_>, prefix: &Path, home: &Path) -> Result<String> {
    let program = ground.compile("mpicc", &["c/linked.c"], "plain", &[])?;
    let out = home.join(format!("out-{}", ground.mpi.name()));
    let mut command = Command::new(prefix.join("bin/pfs"));
    command.env_remove("PFS_METADATA").env_remove("PFS_SECRET_FILE").env_remove("LD_PRELOAD");
    command.envs(ground.mpi.environment().iter().copied());
    command.args(["run", "--file-servers", "2", "--stage-out", "pfs:/out"]).arg(&out).arg("--");
    command.args(ground.mpi.launcher()).args(["-n", &ground.ranks.to_string()]).arg(program).arg("pfs:/out");
    let said = ran(ground, Step::new("pfs run", command, LIMIT).run()?.stdout)?;
    let bytes = fs::read(&out).with_context(|| format!("reading {}", out.display()))?;
    ensure!(bytes.len() == 4 * ground.ranks as usize, "{} bytes were copied out", bytes.len());
    Ok(said)
}

fn ran(ground: &Ground<'_>, said: String) -> Result<String> {
    ensure!(said.trim() == format!("linked: {} ranks", ground.ranks), "it said {said:?}");
    Ok(said)
}

fn manual_pages(prefix: &Path) -> Result<String> {
    let mut pages: Vec<PathBuf> = Vec::new();
    for section in ["man1", "man3"] {
        let entries = fs::read_dir(prefix.join("share/man").join(section))?;
        pages.extend(entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?);
    }
    ensure!(pages.len() > 20, "only {} pages", pages.len());
    let mut lint = Command::new("mandoc");
    lint.args(["-T", "lint", "-W", "warning"]).args(&pages);
    let found = Step::new("mandoc", lint, LIMIT).run_any_status()?;
    ensure!(found.status.success() && found.stdout.is_empty(), "{}{}", found.status, found.indented_output());
    for page in &pages {
        let mut show = Command::new("man");
        show.args(["--warnings", "--local-file"]).arg(page).env("MANWIDTH", "100").env("LC_ALL", "C.UTF-8");
        let shown = Step::new("man", show, LIMIT).run()?;
        ensure!(shown.stderr.is_empty() && !shown.stdout.is_empty(), "{}{}", page.display(), shown.indented_output());
    }
    Ok(format!("{} pages without a warning", pages.len()))
}

fn modulefile(prefix: &Path, home: &Path, libraries: usize) -> Result<String> {
    let reader = home.join("modules.tcl");
    fs::write(&reader, MODULES)?;
    let file = prefix.join("share/modulefiles/pfs").join(env!("CARGO_PKG_VERSION"));
    let mut command = Command::new("tclsh");
    command.arg(&reader).arg(&file);
    let said = Step::new("tclsh", command, LIMIT).run()?;
    for line in said.stdout.lines() {
        let (name, path) = line.split_once('=').context("a line of the reader")?;
        ensure!(Path::new(path).exists(), "{name} is {path}, which is not there");
    }
    ensure!(said.stdout.lines().count() == 4 + libraries, "it sets{}", said.indented_output());
    ensure!(said.stderr.contains("pfs run"), "its help is{}", said.indented_output());
    Ok(String::new())
}
