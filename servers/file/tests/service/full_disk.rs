//! A full disk: the writer is told, at once and clearly; nothing that was there before is lost.

use crate::fake_metadata::FakeMetadata;
use crate::harness::{Harness, any_port, assert_code, client_of, config, secret};
use pfs_proto::status::ErrorCode;
use pfs_proto::v1;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A small file system in memory, for as long as this lives. Mounting takes root.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    fn mount(bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(directory.path())
            .output()
            .expect("this test mounts a small file system");
        let error = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "this test mounts a small file system, which takes root: {error}");
        SmallDisk { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that a failed test left behind may still use it.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.path().display());
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_told_to_the_writer_and_hurts_nobody_else() {
    const PIECE: u64 = 512 << 10;
    let disk = SmallDisk::mount(8 << 20);
    let metadata = FakeMetadata::new("cluster-a");
    let metadata_server = metadata.serve(any_port(), &secret()).await;
    let directory = tempfile::tempdir().unwrap();
    let server = pfs_file_server::start(config(disk.path(), "file-0", &metadata_server)).await.unwrap();
    let client = client_of(&server, &secret());
    let harness = Harness { metadata, metadata_server, directory, server, client };

    let piece = |number: u64| vec![u8::try_from(number).unwrap() + 1; usize::try_from(PIECE).unwrap()];
    harness.write(1, 0, b"precious").await.unwrap();
    harness.commit(&[1]).await.unwrap();
    let mut written = 0;
    let error = loop {
        match harness.write(2, written * PIECE, &piece(written)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the disk is never full");
    };
    assert_eq!(error.code, ErrorCode::NoSpace, "{error}");
    assert!(error.message.contains("file-2 slot 2") && error.message.contains("objects"), "{error}");
    assert!(written >= 10, "the disk was full after {written} pieces");

    assert_eq!(harness.read(1, 0, 8).await.unwrap(), b"precious");
    for number in 0..written {
        assert_eq!(harness.read(2, number * PIECE, PIECE).await.unwrap(), piece(number));
    }
    harness.commit(&[1, 2]).await.unwrap();
    let full = harness.write(3, 0, &piece(0)).await;
    assert_code(full, ErrorCode::NoSpace);
    harness.client.clone().remove(v1::RemoveRequest { file_ids: vec![2] }).await.unwrap();
    harness.write(3, 0, &piece(0)).await.unwrap();
    assert_eq!(harness.read(3, 0, PIECE).await.unwrap(), piece(0));
    harness.server.stop().await.unwrap();
}
