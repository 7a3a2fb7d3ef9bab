//! Virtual environments below `target`: for the client in Python that tests the file server, and for mpi4py.
//!
//! Invariant: an environment that is marked with its requirements has them all; any other is made anew.

pub mod mpi4py;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context as _, Result};

use crate::step::Step;
use crate::workspace;

const REQUIREMENTS: &str = "servers/file/tests/foreign/requirements.txt";
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

fn directory() -> Result<PathBuf> {
    Ok(workspace::target_directory()?.join("python"))
}

/// The Python program of the environment.
pub fn interpreter() -> Result<PathBuf> {
    Ok(directory()?.join("bin/python"))
}

/// Makes the environment if it is not there, or was made for other requirements.
pub fn set_up() -> Result<()> {
    let (directory, list) = (directory()?, workspace::root()?.join(REQUIREMENTS));
    let requirements = fs::read_to_string(&list).context("reading the requirements")?;
    let mark = directory.join("requirements.txt");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == requirements) && interpreter()?.exists() {
        return Ok(());
    }
    println!("setup: making a Python environment in {}", directory.display());
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).context("removing the old one"),
        _ => {}
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&directory);
    Step::new("python3 -m venv", make, INSTALL_LIMIT).run()?;
    let mut install = Command::new(interpreter()?);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&list);
    Step::new("pip install", install, INSTALL_LIMIT).run()?;
    fs::write(&mark, requirements).with_context(|| format!("writing {}", mark.display()))
}
