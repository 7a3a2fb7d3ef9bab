//! Every hint that is known: its name, its values, what is in effect without it, and where it acts. `docs/HINTS.md` has the same
//! table with words; a test compares the two.

/// Where a hint acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acts {
    /// On a file that is created.
    Creation,
    /// On collective accesses.
    Collective,
    /// On a rank's own accesses with several pieces, and on a collective one in which each rank moves its own bytes.
    Pieces,
    /// On nothing: there is nothing here that it could change.
    Nowhere,
}

/// A hint that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The key in an `MPI_Info`.
    pub key: &'static str,
    /// What may be given, in words of the documentation.
    pub values: &'static str,
    /// What is in effect without it; empty if `get_info` does not have it then.
    pub default: &'static str,
    /// Where it acts.
    pub acts: Acts,
}

const fn known(key: &'static str, values: &'static str, default: &'static str, acts: Acts) -> Known {
    Known { key, values, default, acts }
}

/// All hints, as in the documentation. A default in brackets is a fact of the open file.
pub const TABLE: &[Known] = &[
    known("striping_factor", "1 to 4096", "[servers of the file]", Acts::Creation),
    known("striping_unit", "multiple of 4096, at most 1 GiB", "[stripe unit of the file]", Acts::Creation),
    known("start_iodevice", "0 to 4095", "", Acts::Creation),
    known("cb_nodes", "1 or more", "[one for each server, at most one for each rank]", Acts::Collective),
    known("cb_buffer_size", "1 or more", "16777216", Acts::Collective),
    known("cb_config_list", "`HOST[:MAX],…`", "*:*", Acts::Collective),
    known("collective_buffering", "`true`, `false`", "true", Acts::Collective),
    known("romio_cb_read", "`enable`, `disable`, `automatic`", "automatic", Acts::Collective),
    known("romio_cb_write", "`enable`, `disable`, `automatic`", "automatic", Acts::Collective),
    known("romio_no_indep_rw", "`true`, `false`", "false", Acts::Collective),
    known("pfs_node_gather", "`enable`, `disable`, `automatic`", "automatic", Acts::Collective),
    known("pfs_node_memory", "`enable`, `disable`, `automatic`", "automatic", Acts::Collective),
    known("romio_ds_read", "`enable`, `disable`, `automatic`", "automatic", Acts::Pieces),
    known("romio_ds_write", "`enable`, `disable`, `automatic`", "automatic", Acts::Pieces),
    known("ind_rd_buffer_size", "1 or more", "4194304", Acts::Pieces),
    known("ind_wr_buffer_size", "1 or more", "524288", Acts::Pieces),
    known("pfs_list_io", "`enable`, `disable`, `automatic`", "automatic", Acts::Pieces),
    known("pfs_io_depth", "1 to 1024", "1", Acts::Pieces),
    known("filename", "any", "[path of the file]", Acts::Nowhere),
    known("nb_proc", "any", "[ranks of the file]", Acts::Nowhere),
    known("num_io_nodes", "any", "[servers of the file]", Acts::Nowhere),
    known("cb_block_size", "any", "[bytes of a window]", Acts::Nowhere),
    known("romio_cb_pfr", "any", "", Acts::Nowhere),
    known("romio_cb_fr_alignment", "any", "", Acts::Nowhere),
    known("romio_cb_alltoall", "any", "", Acts::Nowhere),
    known("direct_read", "any", "false", Acts::Nowhere),
    known("direct_write", "any", "false", Acts::Nowhere),
    known("romio_cb_fr_types", "any", "", Acts::Nowhere),
    known("romio_cb_ds_threshold", "any", "", Acts::Nowhere),
    known("access_style", "any", "", Acts::Nowhere),
    known("chunked", "any", "", Acts::Nowhere),
    known("chunked_item", "any", "", Acts::Nowhere),
    known("chunked_size", "any", "", Acts::Nowhere),
    known("file_perm", "any", "", Acts::Nowhere),
    known("io_node_list", "any", "", Acts::Nowhere),
];

/// What is known of a key.
pub fn find(key: &str) -> Option<&'static Known> {
    TABLE.iter().find(|known| known.key == key)
}
