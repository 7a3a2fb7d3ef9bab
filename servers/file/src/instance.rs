//! Counts the starts of a store, so that a client notices that bytes it wrote may be gone.
//!
//! Invariant: a number is durable before it is told to anybody, so no two starts have the same one.

use anyhow::{Context, bail};
use pfs_core::ids::Instance;
use pfs_server_runtime::write_durably;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

const INSTANCE_FILE: &str = "instance";

/// Counts one more start.
pub fn advance(directory: &Path) -> anyhow::Result<Instance> {
    let path = directory.join(INSTANCE_FILE);
    let last = match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u64>() {
            Ok(last) => last,
            Err(_) => bail!("{} is damaged: it must hold one number, the count of starts", path.display()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let next = last.checked_add(1).and_then(Instance::new);
    let next = next.with_context(|| format!("the count of starts in {} is at its end", path.display()))?;
    write_durably(&path, format!("{}\n", next.get()).as_bytes())?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_has_its_number() {
        let directory = tempfile::tempdir().unwrap();
        for number in 1..=3 {
            assert_eq!(advance(directory.path()).unwrap().get(), number);
        }
        for damaged in ["", "-1", "two", "18446744073709551615"] {
            fs::write(directory.path().join(INSTANCE_FILE), damaged).unwrap();
            assert!(advance(directory.path()).is_err(), "{damaged}");
        }
    }
}
