//! What the cache has counted.

/// See the fields of the same names in `proto/pfs/v1/metadata.proto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// Reads that were served from the cache alone.
    pub read_hits: u64,
    /// Reads through the cache that needed a file server.
    pub read_misses: u64,
    /// Writes into blocks that were cached already.
    pub write_hits: u64,
    /// Writes that made a new block.
    pub write_misses: u64,
    /// Blocks dropped to make room.
    pub evictions: u64,
    /// Requests that wrote dirty bytes to file servers.
    pub write_backs: u64,
    /// Blocks of which bytes were dropped since their token was given up, or they were changed past the cache.
    pub invalidations: u64,
    /// Write-backs made by closing a file; `write_backs` has them too.
    pub close_write_backs: u64,
    /// Blocks dropped by closing a file.
    pub close_evictions: u64,
    /// Bytes in the cache now.
    pub cached_bytes: u64,
    /// Of these, bytes that are not at the file servers.
    pub dirty_bytes: u64,
}

impl CacheCounters {
    /// What has happened so far, under the names that users see; what is in the cache now is not part of it.
    pub fn events(&self) -> [(&'static str, u64); 9] {
        [
            ("read_hits", self.read_hits),
            ("read_misses", self.read_misses),
            ("write_hits", self.write_hits),
            ("write_misses", self.write_misses),
            ("evictions", self.evictions),
            ("write_backs", self.write_backs),
            ("invalidations", self.invalidations),
            ("close_write_backs", self.close_write_backs),
            ("close_evictions", self.close_evictions),
        ]
    }
}
