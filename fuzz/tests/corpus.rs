//! Every input of the corpus: those that the targets were begun with, and each that has shown a mistake.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[test]
fn the_corpus_holds() {
    for (name, check) in pfs_fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let inputs = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for input in inputs {
            let path = input.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            assert!(catch_unwind(|| check(&bytes)).is_ok(), "{name} fails on {}", path.display());
            count += 1;
        }
        assert!(count > 0, "{name} has no corpus");
    }
}

/// A target is a program of its own too, so that a fuzzer can run it.
#[test]
fn every_target_is_a_program() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    for (name, _) in pfs_fuzz::TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), pfs_fuzz::TARGETS.len());
}
