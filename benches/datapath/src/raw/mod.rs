//! The yardstick: plain blocking sockets that do the data path's job and nothing else.
//!
//! What it does: bytes from the caller's buffer to a file of the server and back, CRC32C of every block of 4096 bytes made
//! at the client, verified at the server, stored, and verified at the client again. What it does not do: more than one file,
//! names, tokens, stamps, retries, time-outs, other byte orders, proof of a secret. So it is what a data path costs that has
//! no file system around it.
//!
//! Invariants: buffers are made once for each connection; extents begin at a block; what is not of whole blocks has a checksum
//! of a part of one at its end, and is read as it was written; a wrong checksum ends the connection with an error, so no figure
//! comes from wrong bytes.

mod client;
mod server;
mod store;
mod wire;

pub use client::RawClient;
pub use server::Server;
pub use wire::CHUNK_BYTES;

use pfs_core::checksum::{BLOCK_BYTES, Checksum};

/// Bytes of one block.
const BLOCK: usize = BLOCK_BYTES as usize;

/// Makes the checksum of each block of `bytes`, as bytes of the wire.
fn put_checksums(bytes: &[u8], into: &mut Vec<u8>) {
    for block in bytes.chunks(BLOCK) {
        into.extend_from_slice(&Checksum::of(block).0.to_le_bytes());
    }
}

/// The first block of `bytes` whose checksum is not the one that came with it.
fn first_wrong(bytes: &[u8], checksums: &[u8]) -> Option<usize> {
    bytes.chunks(BLOCK).zip(checksums.chunks(4)).position(|(block, sum)| Checksum::of(block).0.to_le_bytes() != *sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    fn serve(directory: &Path) -> SocketAddr {
        let server = Server::open(directory, 8 << 20, [127, 0, 0, 1].into()).unwrap();
        let address = server.address().unwrap();
        // It serves until the test program ends.
        std::thread::spawn(move || server.serve());
        address
    }

    fn source(bytes: usize) -> Vec<u8> {
        (0..bytes / 8).flat_map(|word| (word as u64 * 0x9e37_79b9).to_le_bytes()).collect()
    }

    /// Large requests, blocks at several depths and lists all put bytes where they belong, and checksums reach their file.
    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut client = RawClient::connect(serve(directory.path())).unwrap();
        let written = source(4 << 20);
        client.write_at(0, &written, 1 << 20).unwrap();
        let mut read = vec![0; 4 << 20];
        client.read_at(0, &mut read, 640 << 10).unwrap();
        assert!(read == written);

        let offsets: Vec<u64> = (0..256).map(|block| (block * 8192 + 4096) % (4 << 20)).collect();
        for depth in [1, 16, 300] {
            let blocks: Vec<(u64, &[u8])> = offsets.iter().map(|at| (*at, &written[..BLOCK])).collect();
            client.write_blocks(&blocks, depth).unwrap();
            let mut block = vec![0; BLOCK];
            client.read_blocks(&offsets, &mut block, depth).unwrap();
            assert!(block == written[..BLOCK]);
        }
        let (list, payload) = (offsets, &written[1 << 20..2 << 20]);
        client.write_list(&list, payload).unwrap();
        let mut read = vec![0; 1 << 20];
        client.read_list(&list, &mut read).unwrap();
        assert!(read == payload);

        client.sync().unwrap();
        let sums = std::fs::read(directory.path().join("sums")).unwrap();
        let block = usize::try_from(list[3]).unwrap() / BLOCK;
        let expected = Checksum::of(&payload[3 * BLOCK..4 * BLOCK]).0.to_le_bytes();
        assert_eq!(sums[block * 4..block * 4 + 4], expected);
    }

    /// A piece that ends within a block, behind it another one in a place of its own.
    #[test]
    fn a_piece_of_any_length_comes_back_with_the_checksum_of_its_end() {
        const PIECE: usize = 47_008;
        let place = PIECE.next_multiple_of(BLOCK) as u64;
        let directory = tempfile::tempdir().unwrap();
        let mut client = RawClient::connect(serve(directory.path())).unwrap();
        let written = source(2 * PIECE);
        for (at, piece) in [0, place].into_iter().zip(written.chunks(PIECE)) {
            client.write_at(at, piece, 1 << 20).unwrap();
        }
        client.sync().unwrap();
        let mut read = vec![0; PIECE];
        client.read_at(place, &mut read, 1 << 20).unwrap();
        assert!(read == written[PIECE..]);
        let sums = std::fs::read(directory.path().join("sums")).unwrap();
        let last = PIECE / BLOCK;
        assert_eq!(sums[last * 4..last * 4 + 4], Checksum::of(&written[last * BLOCK..PIECE]).0.to_le_bytes());

        let file = std::fs::File::options().write(true).open(directory.path().join("data")).unwrap();
        file.write_all_at(&[1], PIECE as u64 - 1).unwrap();
        let error = client.read_at(0, &mut read, 1 << 20).unwrap_err();
        assert!(error.to_string().contains("block 11"), "{error:#}");
    }

    #[test]
    fn a_byte_that_changed_in_the_store_is_found_by_the_client() {
        let directory = tempfile::tempdir().unwrap();
        let mut client = RawClient::connect(serve(directory.path())).unwrap();
        client.write_at(0, &source(1 << 20), 1 << 20).unwrap();
        let file = std::fs::File::options().write(true).open(directory.path().join("data")).unwrap();
        file.write_all_at(&[1], 5 * 4096).unwrap();
        let error = client.read_at(0, &mut vec![0; 1 << 20], 1 << 20).unwrap_err();
        assert!(error.to_string().contains("block 5"), "{error:#}");
    }
}
