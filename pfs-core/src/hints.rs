//! Hints: the `MPI_Info` keys that files understand, with MPI's and ROMIO's names and meaning.
//!
//! Invariants: a [`Hints`] value is always usable (every number is in its bounds), and a key that is not known is
//! reported, never an error, as MPI demands.

use crate::layout::{RecipeError, STRIPE_COUNT_MAX, check_stripe_unit};
use std::fmt;

/// What an aggregator buffers in one round unless a hint says otherwise, in bytes: ROMIO's default.
pub const CB_BUFFER_BYTES_DEFAULT: u64 = 16 << 20;
/// Smallest round in bytes; a smaller hint is raised to it.
pub const CB_BUFFER_BYTES_MIN: u64 = 4096;
/// Largest round in bytes, so that one message's count fits MPI's `int`; a larger hint is lowered to it.
pub const CB_BUFFER_BYTES_MAX: u64 = 1 << 30;

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
    /// `romio_cb_read`: collective buffering of reads.
    pub cb_read: Switch,
    /// `romio_cb_write`: collective buffering of writes.
    pub cb_write: Switch,
}

impl Default for Hints {
    fn default() -> Self {
        Hints {
            striping_factor: None,
            striping_unit: None,
            start_iodevice: None,
            cb_nodes: None,
            cb_buffer_bytes: CB_BUFFER_BYTES_DEFAULT,
            cb_read: Switch::Automatic,
            cb_write: Switch::Automatic,
        }
    }
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
    /// A stripe unit that no file can have.
    #[error("the hint striping_unit can not be met: {0}")]
    StripeUnit(#[from] RecipeError),
}

impl Hints {
    /// Reads `(key, value)` pairs; a later pair wins. Returns the keys that it does not know beside the hints.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(Hints, Vec<&'a str>), HintError> {
        let mut hints = Hints::default();
        let mut unknown = Vec::new();
        for (key, value) in pairs {
            if !hints.set(key, value.trim())? {
                unknown.push(key);
            }
        }
        Ok((hints, unknown))
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
            "cb_buffer_size" => {
                let bytes = number("cb_buffer_size", value, 1, u64::MAX)?;
                self.cb_buffer_bytes = bytes.clamp(CB_BUFFER_BYTES_MIN, CB_BUFFER_BYTES_MAX);
            }
            "romio_cb_read" => self.cb_read = switch("romio_cb_read", value)?,
            "romio_cb_write" => self.cb_write = switch("romio_cb_write", value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// How many aggregators a collective of this many ranks uses. With more than there are slots, every slot has
    /// equally many.
    pub fn aggregators(&self, stripe_count: u32, ranks: u32) -> u32 {
        let wanted = self.cb_nodes.unwrap_or(stripe_count).clamp(1, ranks.max(1));
        if wanted > stripe_count { wanted / stripe_count * stripe_count } else { wanted }
    }

    /// The hints as pairs, without those that are left to the system.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let optional = [
            ("striping_factor", self.striping_factor.map(|n| n.to_string())),
            ("striping_unit", self.striping_unit.map(|n| n.to_string())),
            ("start_iodevice", self.start_iodevice.map(|n| n.to_string())),
            ("cb_nodes", self.cb_nodes.map(|n| n.to_string())),
        ];
        let set = [
            ("cb_buffer_size", self.cb_buffer_bytes.to_string()),
            ("romio_cb_read", self.cb_read.to_string()),
            ("romio_cb_write", self.cb_write.to_string()),
        ];
        optional.into_iter().filter_map(|(key, value)| Some((key, value?))).chain(set).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hints_are_taken_and_others_reported() {
        let (hints, unknown) = Hints::parse([
            ("striping_unit", "65536"),
            ("striping_factor", "4"),
            ("panfs_concurrent_write", "1"),
            ("cb_buffer_size", "100"),
            ("romio_cb_write", "ENABLE"),
        ])
        .unwrap();
        assert_eq!((hints.striping_unit, hints.striping_factor), (Some(65536), Some(4)));
        assert_eq!(hints.cb_buffer_bytes, CB_BUFFER_BYTES_MIN, "raised to the least that works");
        assert_eq!(hints.cb_write, Switch::Enable);
        assert_eq!(unknown, ["panfs_concurrent_write"]);
    }

    #[test]
    fn hints_come_back_as_they_were_given() {
        let given = [("cb_nodes", "3"), ("romio_cb_read", "disable"), ("start_iodevice", "0")];
        let (hints, _) = Hints::parse(given).unwrap();
        let pairs = hints.pairs();
        let (again, unknown) = Hints::parse(pairs.iter().map(|(key, value)| (*key, value.as_str()))).unwrap();
        assert_eq!((again, unknown.len()), (hints, 0));
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        let refused = |key, value| Hints::parse([(key, value)]).unwrap_err().to_string();
        assert!(refused("striping_unit", "5000").contains("multiple of 4096"));
        assert!(refused("striping_factor", "0").contains("from 1 to 4096"));
        assert!(refused("cb_nodes", "two").contains("cb_nodes=\"two\""));
        assert!(refused("cb_nodes", "-1").contains("whole number"));
        assert!(refused("romio_cb_write", "maybe").contains("enable, disable or automatic"));
        assert!(refused("cb_buffer_size", "").contains("whole number"));
    }
}
