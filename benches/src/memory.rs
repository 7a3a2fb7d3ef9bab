//! What the memory of a benchmark's ranks is made of.

use std::io;

/// Has this process get pages of the usual size only, as an MPI program does whose allocator does not ask for huge ones. Ours does,
/// and a program that lives for a second pays for each: the whole page is cleared when its first byte is used, and on a virtual
/// machine the host has to find it first.
pub fn without_huge_pages() -> io::Result<()> {
    // SAFETY: it takes numbers.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_gets_no_huge_pages() {
        without_huge_pages().unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, 0, 0, 0, 0) }, 1);
    }
}
