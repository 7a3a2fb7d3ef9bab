//! Reads the MPI's own header: which `MPI_File_*` it declares. `src/declared.rs` compares each of them, by name and by type, with
//! what this library exports, so a function that is forgotten does not compile.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed=MPICC");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(large_count)");
    println!("cargo:rerun-if-changed=src/constants.c");
    // Programs that are linked with it look for it by the name that it is installed under.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libpfs_mpiio.so");
    // What other crates export for C is none of a program's business.
    println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
    let mut constants = cc::Build::new();
    constants.compiler(env::var("MPICC").unwrap_or_else(|_| "mpicc".to_owned())).file("src/constants.c");
    let header = String::from_utf8(constants.try_expand()?)?;
    constants.try_compile("pfs_mpiio_constants")?;
    let names = declared(&header);
    ensure!(names.contains("MPI_File_open"), "the MPI's header declares no MPI_File_open");
    if names.contains("MPI_File_read_c") {
        println!("cargo:rustc-cfg=large_count");
    }
    let mut checks = String::from("compare! {\n");
    for name in names {
        writeln!(checks, "    {name}")?;
    }
    checks.push_str("}\n");
    let file = Path::new(&env::var("OUT_DIR")?).join("declared.rs");
    fs::write(&file, checks).with_context(|| format!("writing {}", file.display()))
}

/// The functions of files that are declared: names that are followed by their parameters.
fn declared(header: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = BTreeSet::new();
    for word in header.split_inclusive(|c| !is_name(c)) {
        let Some(name) = word.strip_suffix('(') else { continue };
        if name.starts_with("MPI_File_") || name.starts_with("MPI_Register_datarep") {
            names.insert(name);
        }
    }
    names
}
