//! Accesses with borrowed memory.
//!
//! Nothing is copied: transfers on other threads use the caller's buffers, and give them back when the access is done or
//! its future is dropped (`data/memory/loan.rs` has the argument). Only a future that is forgotten while it is under way
//! would keep them, so the functions are unsafe.

use crate::data::memory::destination::Destination;
use crate::data::memory::source::Source;
use crate::descriptor::FileDescriptor;
use crate::error::{Error, ErrorKind};
use crate::token::Token;
use pfs_core::extent::{Extent, MAX_FILE_BYTES, joined};
use pfs_core::token::message::Mode;
use std::sync::Arc;

impl FileDescriptor {
    /// Reads into `buffer` from `offset`; returns how many bytes, fewer than asked for only at the end of the file.
    ///
    /// # Safety
    /// The future is dropped, finished or not, before the borrow of the buffer ends: it is not forgotten.
    pub async unsafe fn read_into(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        let Some(range) = self.range(offset, buffer.len() as u64, Mode::Shared)? else { return Ok(0) };
        let token = Arc::new(self.acquire(Mode::Shared, &[range]).await?);
        // SAFETY: the caller's promise.
        unsafe { self.read_through(&token, buffer, offset).await }
    }

    /// The same under a token that covers it.
    ///
    /// # Safety
    /// As for [`read_into`](Self::read_into).
    pub async unsafe fn read_through(
        &self,
        token: &Arc<Token>,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<usize, Error> {
        let Some(range) = self.range(offset, buffer.len() as u64, Mode::Shared)? else { return Ok(0) };
        let Some(range) = self.before_end(range).await? else { return Ok(0) };
        let buffer = &mut buffer[..length(range)];
        match self.client().state().cache.takes(range.len()) {
            true => self.read_cached(token, range, buffer).await?,
            // SAFETY: the caller's promise.
            false => unsafe { self.read_extents(token, &[range], &mut [buffer]).await }?,
        }
        Ok(length(range))
    }

    /// Writes all of `buffer` at `offset`. When it is done, every reader sees it; after [`sync`](Self::sync) it lasts.
    ///
    /// # Safety
    /// As for [`read_into`](Self::read_into).
    pub async unsafe fn write_from(&self, buffer: &[u8], offset: u64) -> Result<(), Error> {
        let Some(range) = self.range(offset, buffer.len() as u64, Mode::Exclusive)? else { return Ok(()) };
        let token = Arc::new(self.acquire(Mode::Exclusive, &[range]).await?);
        // SAFETY: the caller's promise.
        unsafe { self.write_through(&token, buffer, offset).await }
    }

    /// The same under a token that covers it.
    ///
    /// # Safety
    /// As for [`read_into`](Self::read_into).
    pub async unsafe fn write_through(&self, token: &Arc<Token>, buffer: &[u8], offset: u64) -> Result<(), Error> {
        let Some(range) = self.range(offset, buffer.len() as u64, Mode::Exclusive)? else { return Ok(()) };
        match self.write_cached(range, buffer).await? {
            true => Ok(()),
            // SAFETY: the caller's promise.
            false => unsafe { self.write_extents(token, &[range], &[buffer]).await },
        }
    }

    /// Writes `buffer` at `offset` under a token that covers it, past the cache.
    ///
    /// # Safety
    /// As for [`read_into`](Self::read_into).
    pub async unsafe fn write_under(&self, token: &Arc<Token>, buffer: &[u8], offset: u64) -> Result<(), Error> {
        let Some(range) = self.range(offset, buffer.len() as u64, Mode::Exclusive)? else { return Ok(()) };
        // SAFETY: the caller's promise.
        unsafe { self.write_extents(token, &[range], &[buffer]).await }
    }

    /// Reads into `buffer` from `offset` under a token that covers it, past the cache; fewer bytes only at the end of the file.
    ///
    /// # Safety
    /// As for [`read_into`](Self::read_into).
    pub async unsafe fn read_under(&self, token: &Arc<Token>, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        let Some(range) = self.range(offset, buffer.len() as u64, Mode::Shared)? else { return Ok(0) };
        let Some(range) = self.before_end(range).await? else { return Ok(0) };
        // SAFETY: the caller's promise.
        unsafe { self.read_extents(token, &[range], &mut [&mut buffer[..length(range)]]).await }?;
        Ok(length(range))
    }

    /// Writes several ranges (disjoint, in order) under a token that covers them, each from its buffer, in as few requests as
    /// can be.
    ///
    /// # Safety
    /// As for [`read_into`](Self::read_into).
    pub async unsafe fn write_list_under(
        &self,
        token: &Arc<Token>,
        extents: &[Extent],
        buffers: &[&[u8]],
    ) -> Result<(), Error> {
        self.check_list(Mode::Exclusive, extents, buffers.iter().map(|buffer| buffer.len()))?;
        // SAFETY: the caller's promise.
        unsafe { self.write_extents(token, extents, buffers).await }
    }

    /// Reads several ranges (disjoint, in order, before the end of the file) under a token that covers them, each into its
    /// buffer. Bytes past the end are zeros.
    ///
    /// # Safety
    /// As for [`read_into`](Self::read_into).
    pub async unsafe fn read_list_under(
        &self,
        token: &Arc<Token>,
        extents: &[Extent],
        buffers: &mut [&mut [u8]],
    ) -> Result<(), Error> {
        self.check_list(Mode::Shared, extents, buffers.iter().map(|buffer| buffer.len()))?;
        // SAFETY: the caller's promise.
        unsafe { self.read_extents(token, extents, buffers).await }
    }

    /// # Safety
    /// As for [`read_into`](Self::read_into).
    async unsafe fn write_extents(
        &self,
        token: &Arc<Token>,
        extents: &[Extent],
        buffers: &[&[u8]],
    ) -> Result<(), Error> {
        // SAFETY: the guard is dropped with this future.
        let (source, _recall) = unsafe { Source::lend(extents, buffers) };
        self.write_past_cache(token, extents, &source).await
    }

    /// # Safety
    /// As for [`read_into`](Self::read_into).
    async unsafe fn read_extents(
        &self,
        token: &Arc<Token>,
        extents: &[Extent],
        buffers: &mut [&mut [u8]],
    ) -> Result<(), Error> {
        // SAFETY: the guard is dropped with this future.
        let (destination, _recall) = unsafe { Destination::lend(extents, buffers) };
        // What is looked up for each range is looked up once for neighbours, wherever their bytes go.
        self.read_past_cache(token, &joined(extents.to_vec()), &destination).await
    }

    fn check_list(
        &self,
        mode: Mode,
        extents: &[Extent],
        lengths: impl ExactSizeIterator<Item = usize>,
    ) -> Result<(), Error> {
        self.range(0, 0, mode)?;
        let ordered = extents.windows(2).all(|pair| pair[0].end() <= pair[1].start());
        let fits = extents.len() == lengths.len() && extents.iter().zip(lengths).all(|(e, l)| e.len() == l as u64);
        let inside = extents.last().is_none_or(|last| last.end() <= MAX_FILE_BYTES);
        if ordered && fits && inside {
            return Ok(());
        }
        let message = "the ranges of a list must be disjoint and in order, each as long as its buffer";
        Err(Error::new(ErrorKind::InvalidArgument, message))
    }
}

/// Bytes of a part of a buffer.
fn length(range: Extent) -> usize {
    usize::try_from(range.len()).expect("at most the buffer's length")
}
