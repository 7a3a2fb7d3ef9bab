//! One block: its bytes, and which of them mean something.
//!
//! Invariants:
//! * `dirty` and `writing` are parts of `valid`;
//! * bytes in `writing` are on their way to the servers; those of them that are also in `dirty` were written again since.

use super::spans::{Span, Spans};

#[derive(Debug)]
pub(super) struct Block {
    bytes: Box<[u8]>,
    /// What may be read.
    valid: Spans,
    /// Not at the servers, and not on the way.
    dirty: Spans,
    /// On the way to the servers.
    writing: Spans,
    /// When it was last used, in the cache's own count.
    pub(super) used: u64,
    /// Its entry in the order of eviction.
    pub(super) queued: Option<u64>,
}

impl Block {
    /// An empty block in memory as long as a block, whatever is in it.
    pub(super) fn new(bytes: Box<[u8]>) -> Block {
        let (valid, dirty, writing) = (Spans::default(), Spans::default(), Spans::default());
        Block { bytes, valid, dirty, writing, used: 0, queued: None }
    }

    /// Its memory, for another block.
    pub(super) fn into_memory(self) -> Box<[u8]> {
        self.bytes
    }

    pub(super) fn valid_bytes(&self) -> u64 {
        self.valid.bytes()
    }

    pub(super) fn dirty_bytes(&self) -> u64 {
        self.dirty.bytes()
    }

    /// Bytes that are not known to be at the servers.
    pub(super) fn pending(&self) -> Spans {
        let mut pending = self.dirty.clone();
        pending.insert_all(&self.writing);
        pending
    }

    pub(super) fn pending_bytes(&self) -> u64 {
        match self.writing.is_empty() {
            true => self.dirty.bytes(),
            false => self.pending().bytes(),
        }
    }

    /// Whether the servers have all that it holds.
    pub(super) fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.writing.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.valid.is_empty()
    }

    /// Whether some of these bytes are not at the servers yet.
    pub(super) fn is_pending(&self, span: Span) -> bool {
        !self.dirty.within(span).is_empty() || !self.writing.within(span).is_empty()
    }

    pub(super) fn has_dirty(&self, span: Span) -> bool {
        !self.dirty.within(span).is_empty()
    }

    /// Whether all of these bytes are dirty.
    pub(super) fn is_dirty(&self, span: Span) -> bool {
        self.dirty.covers(span)
    }

    /// Copies what is valid of `span` to `out`; returns what is not.
    pub(super) fn read(&self, span: Span, out: &mut [u8]) -> Spans {
        for (start, end) in self.valid.within(span).iter() {
            out[index(start, span.0)..index(end, span.0)].copy_from_slice(&self.bytes[start as usize..end as usize]);
        }
        self.valid.gaps(span)
    }

    /// What is not valid of `span`.
    pub(super) fn missing(&self, span: Span) -> Spans {
        self.valid.gaps(span)
    }

    /// Takes `bytes` over as dirty. Nothing is read before.
    pub(super) fn write(&mut self, span: Span, bytes: &[u8]) {
        self.bytes[span.0 as usize..span.1 as usize].copy_from_slice(bytes);
        self.valid.insert(span);
        self.dirty.insert(span);
    }

    /// Takes bytes of the servers over where nothing is known yet.
    pub(super) fn fill(&mut self, span: Span, bytes: &[u8]) {
        for (start, end) in self.valid.gaps(span).iter() {
            self.bytes[start as usize..end as usize].copy_from_slice(&bytes[index(start, span.0)..index(end, span.0)]);
        }
        self.valid.insert(span);
    }

    /// The dirty bytes of `span` are on their way from now on. What is on the way already is left: two writes of the
    /// same bytes could overtake each other.
    pub(super) fn take_dirty(&mut self, span: Span) -> Spans {
        let mut taken = self.dirty.within(span);
        taken.remove_all(&self.writing);
        self.dirty.remove_all(&taken);
        self.writing.insert_all(&taken);
        taken
    }

    pub(super) fn bytes_of(&self, span: Span) -> &[u8] {
        &self.bytes[span.0 as usize..span.1 as usize]
    }

    /// What was on its way has arrived.
    pub(super) fn written(&mut self, spans: &Spans) {
        self.writing.remove_all(spans);
    }

    /// What was on its way must be written again.
    pub(super) fn put_back(&mut self, spans: &Spans) {
        for span in spans.iter() {
            self.dirty.insert_all(&self.writing.within(span));
        }
        self.writing.remove_all(spans);
    }

    /// What was on its way will never arrive: it is dropped, except for what was written again since.
    pub(super) fn drop_failed(&mut self, spans: &Spans) {
        for span in spans.iter() {
            let mut lost = self.writing.within(span);
            lost.remove_all(&self.dirty);
            self.valid.remove_all(&lost);
        }
        self.writing.remove_all(spans);
    }

    /// Forgets what the servers have. Returns whether there was anything.
    pub(super) fn drop_clean(&mut self, span: Span) -> bool {
        let mut clean = self.valid.within(span);
        clean.remove_all(&self.dirty);
        clean.remove_all(&self.writing);
        self.valid.remove_all(&clean);
        !clean.is_empty()
    }
}

fn index(at: u32, base: u32) -> usize {
    (at - base) as usize
}
