//! Hints: the `MPI_Info` keys that files understand, with MPI's and ROMIO's names and meaning.
//!
//! Invariants: a [`Hints`] value is always usable (every number is in its bounds); a key that is not known is reported, never an
//! error, as MPI demands; what [`Hints::in_effect`] names is what is done.

mod config_list;
mod sources;
mod table;
#[cfg(test)]
mod tests;

use crate::collective::{Direction, Nodes};
use crate::layout::{Recipe, RecipeError, STRIPE_COUNT_MAX, check_stripe_unit};
use std::fmt;

pub use config_list::ConfigList;
pub use sources::{line, romio_file};
pub use table::{Acts, Known, TABLE, find};

/// What an aggregator buffers in one round unless a hint says otherwise, in bytes: ROMIO's default.
pub const CB_BUFFER_BYTES_DEFAULT: u64 = 16 << 20;
/// Smallest round in bytes; a smaller hint is raised to it.
pub const CB_BUFFER_BYTES_MIN: u64 = 4096;
/// Largest round in bytes, so that one message's count fits MPI's `int`; a larger hint is lowered to it.
pub const CB_BUFFER_BYTES_MAX: u64 = 1 << 30;

/// What is read at a time when pieces are read together with what lies between them, in bytes: ROMIO's default.
pub const IND_READ_BYTES_DEFAULT: u64 = 4 << 20;
/// The same for pieces that are written.
pub const IND_WRITE_BYTES_DEFAULT: u64 = 512 << 10;
/// Most requests of single pieces under way.
pub const IO_DEPTH_MAX: u32 = 1024;

/// A three-way choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// Decided from the access.
    #[default]
    Automatic,
    /// Always.
    Enable,
    /// Never.
    Disable,
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Switch::Automatic => "automatic",
            Switch::Enable => "enable",
            Switch::Disable => "disable",
        })
    }
}

/// All hints of an open file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hints {
    /// `striping_factor`: servers of a new file.
    pub striping_factor: Option<u32>,
    /// `striping_unit`: bytes per server turn of a new file.
    pub striping_unit: Option<u64>,
    /// `start_iodevice`: the server of a new file's first unit.
    pub start_iodevice: Option<u32>,
    /// `cb_nodes`: aggregators of a collective access.
    pub cb_nodes: Option<u32>,
    /// `cb_buffer_size`: bytes that an aggregator buffers in one round.
    pub cb_buffer_bytes: u64,
    /// `cb_config_list`: which ranks may be aggregators.
    pub cb_config_list: Option<ConfigList>,
    /// `collective_buffering`: what is not said for reads or writes alone.
    pub collective_buffering: bool,
    /// `romio_cb_read`: collective buffering of reads, as it was given; [`collective`](Self::collective) is in effect.
    pub cb_read: Switch,
    /// `romio_cb_write`: collective buffering of writes, as it was given.
    pub cb_write: Switch,
    /// `romio_no_indep_rw`: the program promises to make no independent accesses.
    pub no_indep_rw: bool,
    /// `pfs_node_gather`: messages between nodes by way of one rank of each.
    pub node_gather: Switch,
    /// `pfs_node_memory`: ranks of a node pass bytes in memory that they share.
    pub node_memory: Switch,
    /// `romio_ds_read`: reading pieces together with what lies between them.
    pub ds_read: Switch,
    /// `romio_ds_write`: the same for writes, which read what lies between first.
    pub ds_write: Switch,
    /// `ind_rd_buffer_size`: bytes that are read at a time then.
    pub ind_read_bytes: u64,
    /// `ind_wr_buffer_size`: bytes that are written at a time then.
    pub ind_write_bytes: u64,
    /// `pfs_list_io`: many pieces in a request.
    pub list_io: Switch,
    /// `pfs_io_depth`: requests of single pieces under way, where pieces do not share requests.
    pub io_depth: u32,
}

impl Default for Hints {
    fn default() -> Self {
        Hints {
            striping_factor: None,
            striping_unit: None,
            start_iodevice: None,
            cb_nodes: None,
            cb_buffer_bytes: CB_BUFFER_BYTES_DEFAULT,
            cb_config_list: None,
            collective_buffering: true,
            cb_read: Switch::Automatic,
            cb_write: Switch::Automatic,
            no_indep_rw: false,
            node_gather: Switch::Automatic,
            node_memory: Switch::Automatic,
            ds_read: Switch::Automatic,
            ds_write: Switch::Automatic,
            ind_read_bytes: IND_READ_BYTES_DEFAULT,
            ind_write_bytes: IND_WRITE_BYTES_DEFAULT,
            list_io: Switch::Automatic,
            io_depth: 1,
        }
    }
}

/// What is known of an open file.
#[derive(Clone, Copy, Debug)]
pub struct OpenFacts<'a> {
    /// Its place in the file system.
    pub path: &'a str,
    /// Its layout.
    pub recipe: &'a Recipe,
    /// The ranks that have it open, by their nodes.
    pub nodes: &'a Nodes,
}

/// Why a hint's value was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HintError {
    /// Not a number where one belongs.
    #[error("the hint {key}={value:?} needs a whole number from {min} to {max}")]
    Number {
        /// The hint.
        key: &'static str,
        /// What was given.
        value: String,
        /// Smallest number.
        min: u64,
        /// Largest number.
        max: u64,
    },
    /// Not one of the three words.
    #[error("the hint {key}={value:?} must be enable, disable or automatic")]
    Switch {
        /// The hint.
        key: &'static str,
        /// What was given.
        value: String,
    },
    /// Not one of the two words.
    #[error("the hint {key}={value:?} must be true or false")]
    Bool {
        /// The hint.
        key: &'static str,
        /// What was given.
        value: String,
    },
    /// Not a list of hosts.
    #[error(
        "the hint cb_config_list={value:?} must be a list HOST[:MAX],… with * for any host or for all ranks of one"
    )]
    ConfigList {
        /// What was given.
        value: String,
    },
    /// A part of a line of hints without a value.
    #[error("{text:?} is no hint; hints are written key=value;key=value")]
    Pair {
        /// What was given.
        text: String,
    },
    /// A stripe unit that no file can have.
    #[error("the hint striping_unit can not be met: {0}")]
    StripeUnit(#[from] RecipeError),
}

impl Hints {
    /// Reads `(key, value)` pairs; a later pair wins. Returns the keys that it does not know beside the hints.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(Hints, Vec<&'a str>), HintError> {
        Hints::default().with(pairs)
    }

    /// These hints with others of an open file: what acts on the creation of a file is passed over, and what is not named stays.
    /// Returns the keys that it does not know beside them.
    pub fn changed<'a>(
        &self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(Hints, Vec<&'a str>), HintError> {
        let is_too_late = |key| find(key).is_some_and(|known| known.acts == Acts::Creation);
        self.clone().with(pairs.into_iter().filter(|(key, _)| !is_too_late(key)))
    }

    /// Takes over pairs, and returns the keys that are not known beside the hints.
    fn with<'a>(
        mut self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(Hints, Vec<&'a str>), HintError> {
        let mut unknown = Vec::new();
        for (key, value) in pairs {
            if !self.set(key, value.trim())? {
                unknown.push(key);
            }
        }
        Ok((self, unknown))
    }

    /// Takes over one pair; false if the key is not known.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, HintError> {
        match key {
            "striping_factor" => self.striping_factor = Some(count("striping_factor", value, STRIPE_COUNT_MAX as u64)?),
            "striping_unit" => {
                let unit = number("striping_unit", value, 1, u64::MAX)?;
                check_stripe_unit(unit)?;
                self.striping_unit = Some(unit);
            }
            "start_iodevice" => {
                let server = number("start_iodevice", value, 0, STRIPE_COUNT_MAX as u64 - 1)?;
                self.start_iodevice = u32::try_from(server).ok();
            }
            "cb_nodes" => self.cb_nodes = Some(count("cb_nodes", value, u64::from(u32::MAX))?),
            "cb_buffer_size" => self.cb_buffer_bytes = buffer("cb_buffer_size", value)?,
            "cb_config_list" => self.cb_config_list = Some(ConfigList::parse(value)?),
            "collective_buffering" => self.collective_buffering = yes("collective_buffering", value)?,
            "romio_cb_read" => self.cb_read = switch("romio_cb_read", value)?,
            "romio_cb_write" => self.cb_write = switch("romio_cb_write", value)?,
            "romio_no_indep_rw" => self.no_indep_rw = yes("romio_no_indep_rw", value)?,
            "pfs_node_gather" => self.node_gather = switch("pfs_node_gather", value)?,
            "pfs_node_memory" => self.node_memory = switch("pfs_node_memory", value)?,
            _ => return self.set_pieces(key, value),
        }
        Ok(true)
    }

    /// The same for what acts on a rank's own pieces, and on nothing.
    fn set_pieces(&mut self, key: &str, value: &str) -> Result<bool, HintError> {
        match key {
            "romio_ds_read" => self.ds_read = switch("romio_ds_read", value)?,
            "romio_ds_write" => self.ds_write = switch("romio_ds_write", value)?,
            "ind_rd_buffer_size" => self.ind_read_bytes = buffer("ind_rd_buffer_size", value)?,
            "ind_wr_buffer_size" => self.ind_write_bytes = buffer("ind_wr_buffer_size", value)?,
            "pfs_list_io" => self.list_io = switch("pfs_list_io", value)?,
            "pfs_io_depth" => self.io_depth = count("pfs_io_depth", value, u64::from(IO_DEPTH_MAX))?,
            _ => return Ok(find(key).is_some_and(|known| known.acts == Acts::Nowhere)),
        }
        Ok(true)
    }

    /// Collective buffering of accesses in a direction. A switch of its own counts more than the hints for both directions;
    /// like ROMIO, a promise of no independent accesses enables what is not disabled.
    pub fn collective(&self, direction: Direction) -> Switch {
        let own = match direction {
            Direction::Read => self.cb_read,
            Direction::Write => self.cb_write,
        };
        match own {
            Switch::Automatic if self.no_indep_rw => Switch::Enable,
            Switch::Automatic if !self.collective_buffering => Switch::Disable,
            own => own,
        }
    }

    /// How many aggregators a collective of this many ranks uses. With more than there are slots, every slot has
    /// equally many.
    pub fn aggregators(&self, stripe_count: u32, ranks: u32) -> u32 {
        let wanted = self.cb_nodes.unwrap_or(stripe_count).clamp(1, ranks.max(1));
        if wanted > stripe_count { wanted / stripe_count * stripe_count } else { wanted }
    }

    /// The hints as pairs that [`parse`](Self::parse) reads, without those that are left to the system.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let optional = [
            ("striping_factor", self.striping_factor.map(|n| n.to_string())),
            ("striping_unit", self.striping_unit.map(|n| n.to_string())),
            ("start_iodevice", self.start_iodevice.map(|n| n.to_string())),
            ("cb_nodes", self.cb_nodes.map(|n| n.to_string())),
            ("cb_config_list", self.cb_config_list.as_ref().map(ConfigList::to_string)),
        ];
        let set = [
            ("cb_buffer_size", self.cb_buffer_bytes.to_string()),
            ("collective_buffering", self.collective_buffering.to_string()),
            ("romio_cb_read", self.cb_read.to_string()),
            ("romio_cb_write", self.cb_write.to_string()),
            ("romio_no_indep_rw", self.no_indep_rw.to_string()),
            ("pfs_node_gather", self.node_gather.to_string()),
            ("pfs_node_memory", self.node_memory.to_string()),
            ("romio_ds_read", self.ds_read.to_string()),
            ("romio_ds_write", self.ds_write.to_string()),
            ("ind_rd_buffer_size", self.ind_read_bytes.to_string()),
            ("ind_wr_buffer_size", self.ind_write_bytes.to_string()),
            ("pfs_list_io", self.list_io.to_string()),
            ("pfs_io_depth", self.io_depth.to_string()),
        ];
        optional.into_iter().filter_map(|(key, value)| Some((key, value?))).chain(set).collect()
    }

    /// Every hint with the value in effect for an open file, whatever was asked for.
    pub fn in_effect(&self, facts: OpenFacts<'_>) -> Vec<(&'static str, String)> {
        let OpenFacts { path, recipe, nodes } = facts;
        let (unit, servers, ranks) = (recipe.stripe_unit(), recipe.stripe_count(), nodes.ranks());
        let (reads, writes) = (self.collective(Direction::Read), self.collective(Direction::Write));
        let of_file = [
            ("striping_unit", unit.to_string()),
            ("striping_factor", servers.to_string()),
            ("cb_nodes", self.aggregator_ranks(servers, nodes).len().to_string()),
            ("cb_config_list", self.cb_config_list.as_ref().map_or("*:*".to_owned(), ConfigList::to_string)),
            ("collective_buffering", (reads != Switch::Disable || writes != Switch::Disable).to_string()),
            ("romio_cb_read", reads.to_string()),
            ("romio_cb_write", writes.to_string()),
            ("filename", path.to_owned()),
            ("nb_proc", ranks.to_string()),
            ("num_io_nodes", servers.to_string()),
            ("cb_block_size", self.window_bytes(unit).to_string()),
            ("direct_read", "false".to_owned()),
            ("direct_write", "false".to_owned()),
        ];
        let is_of_file = |key: &str| of_file.iter().any(|(other, _)| *other == key);
        let given: Vec<_> = self.pairs().into_iter().filter(|(key, _)| !is_of_file(key)).collect();
        of_file.into_iter().chain(given).collect()
    }

    /// Bytes of a window: as few of equal size in a stripe unit as fit the buffer.
    pub fn window_bytes(&self, stripe_unit: u64) -> u64 {
        stripe_unit.div_ceil(stripe_unit.div_ceil(self.cb_buffer_bytes))
    }

    /// The ranks that are aggregators of a file with so many servers, in order. Without `cb_config_list` they are spread over
    /// all; with it, it says which, and a list that names no node of the job says nothing.
    pub fn aggregator_ranks(&self, servers: u32, nodes: &Nodes) -> Vec<u32> {
        let allowed = self.cb_config_list.as_ref().map(|list| list.ranks(nodes)).filter(|ranks| !ranks.is_empty());
        let Some(allowed) = allowed else {
            let (count, ranks) = (self.aggregators(servers, nodes.ranks()), u64::from(nodes.ranks()));
            let rank = |i: u32| u64::from(i) * ranks / u64::from(count);
            return (0..count).map(|i| u32::try_from(rank(i)).expect("less than the number of ranks")).collect();
        };
        let most = u32::try_from(allowed.len()).expect("ranks fit 32 bits");
        let mut ranks: Vec<u32> = allowed.into_iter().take(self.aggregators(servers, most) as usize).collect();
        ranks.sort_unstable();
        ranks
    }
}

fn number(key: &'static str, value: &str, min: u64, max: u64) -> Result<u64, HintError> {
    match value.parse::<u64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(HintError::Number { key, value: value.to_owned(), min, max }),
    }
}

fn count(key: &'static str, value: &str, max: u64) -> Result<u32, HintError> {
    let number = number(key, value, 1, max)?;
    u32::try_from(number).map_err(|_| HintError::Number { key, value: value.to_owned(), min: 1, max })
}

fn switch(key: &'static str, value: &str) -> Result<Switch, HintError> {
    match value.to_ascii_lowercase().as_str() {
        "enable" => Ok(Switch::Enable),
        "disable" => Ok(Switch::Disable),
        "automatic" => Ok(Switch::Automatic),
        _ => Err(HintError::Switch { key, value: value.to_owned() }),
    }
}

fn buffer(key: &'static str, value: &str) -> Result<u64, HintError> {
    Ok(number(key, value, 1, u64::MAX)?.clamp(CB_BUFFER_BYTES_MIN, CB_BUFFER_BYTES_MAX))
}

fn yes(key: &'static str, value: &str) -> Result<bool, HintError> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(HintError::Bool { key, value: value.to_owned() }),
    }
}
