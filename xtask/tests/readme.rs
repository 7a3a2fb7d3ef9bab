//! What the README shows is what is compiled and run.

use std::fs;
use std::path::Path;

fn file(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_example_is_the_program() {
    let program = file("examples/src/bin/hello_pfs.rs");
    let shown = &program[program.find("use mpi").unwrap()..];
    assert!(file("README.md").contains(&format!("```rust\n{shown}```\n")), "copy hello_pfs.rs into the README");
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for document in ["README.md", "docs/ARCHITECTURE.md", "docs/HACKING.md", "docs/TESTING.md", "docs/SEMANTICS.md"] {
        for name in file(document).split('`').skip(1).step_by(2).filter(|word| is_path(word)) {
            assert!(root.join(name).exists(), "{document} names {name}, which is not there");
        }
    }
}

/// Whether a quoted word is a path in the source tree.
fn is_path(word: &str) -> bool {
    let folders = ["proto/", "pfs-", "servers/", "examples/", "slurm/", "docs/", "xtask/"];
    word.contains('/')
        && folders.iter().any(|folder| word.starts_with(folder))
        && !word.contains([' ', '<', '{', '*', '\n', ':', '→'])
}
