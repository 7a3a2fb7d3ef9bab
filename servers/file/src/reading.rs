//! Reads: the gate, the store, and the checksums of what was read.
//!
//! A chunk is read on the thread that asks, if the store has its bytes in memory, and in a thread of its own otherwise.
//! Holes, bytes past the end, and objects that need not exist are zeros.

use crate::arriving::{WrongChecksum, check_whole};
use crate::chunks::{CHUNK_BYTES_MAX, Position};
use crate::gate::Running;
use crate::server::{FileServer, logged};
use crate::store::{StoreError, checksums_of};
use crate::traffic::Operation;
use pfs_core::checksum::Checksum;
use pfs_core::ids::{ClientId, ObjectId};
use pfs_proto::data::{ObjectExtent, Read, total_bytes};
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_server_runtime::Peer;

/// A read that was let in, and has not ended.
#[derive(Debug)]
pub struct Reading {
    running: Running,
    object: ObjectId,
    must_exist: bool,
    extents: Vec<ObjectExtent>,
    position: Position,
    client: ClientId,
    peer: Peer,
}

impl Reading {
    /// Who reads.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// The connection that the read has come on.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The extents of the next reply, whole pieces of at most `bytes_max`, which is at least a block and at most a
    /// chunk of the gate; nothing at the end.
    pub fn next(&mut self, bytes_max: u64) -> Option<Vec<ObjectExtent>> {
        self.position.take_pieces(&self.extents, bytes_max.min(CHUNK_BYTES_MAX))
    }

    /// Ends the read; an error takes its success back.
    pub fn finish(self, server: &FileServer) -> Result<(), ErrorDetail> {
        let ended = self.running.finish().map_err(ErrorDetail::from);
        match &ended {
            Ok(()) => server.traffic.read_done(self.object.file),
            Err(error) => server.traffic.failed(Operation::Read, error.code),
        }
        ended
    }
}

impl FileServer {
    /// Lets a read in.
    pub fn begin_read(&self, read: Read, peer: Peer) -> Result<Reading, ErrorDetail> {
        let Read { stamp, sequence, object, extents, must_exist } = read;
        let running = self.gate.begin(stamp, Some(sequence), object.file).map_err(ErrorDetail::from);
        let running = running.inspect_err(|error| self.traffic.failed(Operation::Read, error.code))?;
        let client = stamp.incarnation;
        Ok(Reading { running, object, must_exist, extents, position: Position::default(), client, peer })
    }

    /// Fills `into` with the bytes of `extents`, a chunk, and appends the checksums of their pieces, which are yet to be
    /// compared with the bytes. May block.
    pub fn read_chunk(
        &self,
        reading: &Reading,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<(), ErrorDetail> {
        let bytes = into.len() as u64;
        let read = reading.running.chunk().map_err(ErrorDetail::from).and_then(|_chunk| {
            let read = self.store.read(reading.object, extents, into, checksums);
            self.or_zeros(reading.object, reading.must_exist, read, extents, into, checksums)
        });
        self.count_chunk(reading, bytes, read)
    }

    fn count_chunk(&self, reading: &Reading, bytes: u64, read: Result<(), ErrorDetail>) -> Result<(), ErrorDetail> {
        match &read {
            Ok(()) => self.traffic.read(reading.object.file, bytes),
            Err(error) => self.traffic.failed(Operation::Read, error.code),
        }
        read
    }

    /// The same if it takes no waiting for a disk; false: nothing was done.
    pub fn read_chunk_now(
        &self,
        reading: &Reading,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<bool, ErrorDetail> {
        let bytes = into.len() as u64;
        let read = reading.running.chunk().map_err(ErrorDetail::from).and_then(|_chunk| {
            match self.store.read_now(reading.object, extents, into, checksums) {
                Ok(read) => Ok(read),
                Err(error) => {
                    let (object, must_exist) = (reading.object, reading.must_exist);
                    self.or_zeros(object, must_exist, Err(error), extents, into, checksums).map(|()| true)
                }
            }
        });
        match read {
            Ok(false) => Ok(false),
            read => self.count_chunk(reading, bytes, read.map(drop)).map(|()| true),
        }
    }

    /// The whole of a read that is no longer than a chunk, if it takes no waiting for a disk; false: nothing was done.
    pub fn read_single_now(
        &self,
        read: &Read,
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<bool, ErrorDetail> {
        let bytes = into.len() as u64;
        let done = self.try_read_single(read, into, checksums);
        match &done {
            Ok(true) => self.traffic.read_single(read.object.file, bytes),
            Ok(false) => {}
            Err(error) => self.traffic.failed(Operation::Read, error.code),
        }
        done
    }

    fn try_read_single(
        &self,
        read: &Read,
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<bool, ErrorDetail> {
        let Read { stamp, sequence, object, ref extents, must_exist } = *read;
        let single = self.gate.begin_single(stamp, sequence, object.file, None)?;
        match self.store.read_now(object, extents, into, checksums) {
            Ok(false) => return Ok(false),
            Ok(true) => {}
            Err(error) => self.or_zeros(object, must_exist, Err(error), extents, into, checksums)?,
        }
        single.finish()?;
        Ok(true)
    }

    fn or_zeros(
        &self,
        object: ObjectId,
        must_exist: bool,
        read: Result<(), StoreError>,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<(), ErrorDetail> {
        match read {
            Err(StoreError::Missing { .. }) if must_exist => Err(self.lost(object)),
            Err(StoreError::Missing { .. }) => {
                into.fill(0);
                checksums.extend(checksums_of(extents, into));
                Ok(())
            }
            other => Ok(other.map_err(logged)?),
        }
    }

    /// Fills `into`, which is as long as the whole read, checks every byte, and appends the checksums.
    pub fn read_whole(
        &self,
        mut reading: Reading,
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<(), ErrorDetail> {
        let mut rest = into;
        while let Some(extents) = reading.next(CHUNK_BYTES_MAX) {
            let (bytes, after) = rest.split_at_mut(bytes_of(&extents));
            let mut found = Vec::new();
            self.read_chunk(&reading, &extents, bytes, &mut found)?;
            check_whole(&extents, &mut found, bytes).map_err(|wrong| self.damaged(reading.object, wrong))?;
            checksums.append(&mut found);
            rest = after;
        }
        reading.finish(self)
    }

    fn damaged(&self, object: ObjectId, wrong: WrongChecksum) -> ErrorDetail {
        let text = format!(
            "the object of {object} on {} is damaged: {wrong}; look at the disk below {}, restore the object, or write the range anew",
            self.name,
            self.directory.display()
        );
        tracing::error!(%object, "{text}");
        self.traffic.failed(Operation::Read, ErrorCode::DataLoss);
        ErrorDetail::new(ErrorCode::DataLoss, text)
    }

    fn lost(&self, object: ObjectId) -> ErrorDetail {
        let text = format!(
            "the object of {object} was made durable on {} and is gone from its store {}; restore the store, or remove the file",
            self.name,
            self.directory.display()
        );
        tracing::error!(%object, "{text}");
        ErrorDetail::new(ErrorCode::DataLoss, text)
    }
}

/// Bytes of a chunk's extents.
pub fn bytes_of(extents: &[ObjectExtent]) -> usize {
    usize::try_from(total_bytes(extents)).expect("bounded by the largest request")
}
