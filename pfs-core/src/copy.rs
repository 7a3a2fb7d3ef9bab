//! Copies of many bytes.
//!
//! What is more than the processor's caches keep is written past them: else every line of where it goes would be read from
//! memory before it is written.

/// So many bytes that go one way together are copied past the caches.
pub const STREAMED_BYTES_MIN: u64 = 1 << 20;

/// How bytes are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By way of the caches.
    Cached,
    /// Past them. Who tells other threads or processes that the bytes are there calls [`Way::finish`] first.
    Streamed,
}

impl Way {
    /// For copies of so many bytes in all.
    pub fn of(bytes: u64) -> Way {
        if bytes >= STREAMED_BYTES_MIN { Way::Streamed } else { Way::Cached }
    }

    /// Copies all bytes.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn copy(self, from: &[u8], to: &mut [u8]) {
        assert_eq!(from.len(), to.len(), "as many bytes as there is room for");
        // SAFETY: both have the length, and no byte of one is one of the other.
        unsafe { self.copy_raw(from.as_ptr(), to.as_mut_ptr(), from.len()) }
    }

    /// Copies bytes.
    ///
    /// # Safety
    /// That of `copy_nonoverlapping`.
    pub unsafe fn copy_raw(self, from: *const u8, to: *mut u8, length: usize) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the caller's.
            Way::Streamed => unsafe { stream(from, to, length) },
            // SAFETY: the caller's.
            _ => unsafe { std::ptr::copy_nonoverlapping(from, to, length) },
        }
    }

    /// Has all that this thread has copied be there for those who hear of it from now on.
    pub fn finish(self) {
        #[cfg(target_arch = "x86_64")]
        if self == Way::Streamed {
            // SAFETY: every processor of this kind has it.
            unsafe { std::arch::x86_64::_mm_sfence() };
        }
    }
}

/// Copies bytes: whole cache lines past the caches, and what is left at both ends as usual.
///
/// # Safety
/// That of `copy_nonoverlapping`.
#[cfg(target_arch = "x86_64")]
unsafe fn stream(from: *const u8, to: *mut u8, length: usize) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
    const LINE: usize = 64;
    const WORD: usize = size_of::<__m128i>();
    let head = to.align_offset(LINE).min(length);
    let lines = (length - head) / LINE;
    let tail = head + lines * LINE;
    // SAFETY: head, lines and tail are parts of the bytes, one after the other; a line's words are aligned.
    unsafe {
        std::ptr::copy_nonoverlapping(from, to, head);
        for at in (head..tail).step_by(LINE) {
            let words: [__m128i; LINE / WORD] =
                std::array::from_fn(|word| _mm_loadu_si128(from.add(at + word * WORD).cast()));
            for (word, bytes) in words.into_iter().enumerate() {
                _mm_stream_si128(to.add(at + word * WORD).cast(), bytes);
            }
        }
        std::ptr::copy_nonoverlapping(from.add(tail), to.add(tail), length - tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the lengths and where they begin, both ways copy what they should and nothing else.
    #[test]
    fn both_ways_copy_the_same() {
        let bytes: Vec<u8> = (0..1000u32).map(|number| (number % 251) as u8).collect();
        let lengths = [0, 1, 15, 16, 63, 64, 65, 127, 128, 500, 900];
        for (at, length) in (0..70).flat_map(|at| lengths.map(|length| (at, length))) {
            for way in [Way::Cached, Way::Streamed] {
                let given = &bytes[at / 2..at / 2 + length];
                let mut to = vec![255; 1100];
                way.copy(given, &mut to[at..at + length]);
                way.finish();
                assert_eq!(&to[at..at + length], given, "{length} bytes to {at}, {way:?}");
                let mut others = to[..at].iter().chain(&to[at + length..]);
                assert!(others.all(|byte| *byte == 255), "{length} bytes to {at}, {way:?}");
            }
        }
    }

    #[test]
    fn few_bytes_stay_in_the_caches() {
        assert_eq!(
            [0, STREAMED_BYTES_MIN - 1, STREAMED_BYTES_MIN].map(Way::of),
            [Way::Cached, Way::Cached, Way::Streamed]
        );
    }
}
