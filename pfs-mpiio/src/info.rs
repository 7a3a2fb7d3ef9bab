//! Hints as key and value, like `MPI_Info`.

use std::collections::BTreeMap;

/// Keys and values. A key that was set twice has its last value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    pairs: BTreeMap<String, String>,
}

impl Info {
    /// No hints, like `MPI_INFO_NULL`.
    pub fn new() -> Info {
        Info::default()
    }

    /// The same with one more pair.
    pub fn with(mut self, key: impl Into<String>, value: impl ToString) -> Info {
        self.set(key, value);
        self
    }

    /// Sets a key.
    pub fn set(&mut self, key: impl Into<String>, value: impl ToString) {
        self.pairs.insert(key.into(), value.to_string());
    }

    /// A key's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&str, &str) -> bool) {
        self.pairs.retain(|key, value| keep(key, value));
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl<K: Into<String>, V: ToString> FromIterator<(K, V)> for Info {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Info {
        pairs.into_iter().fold(Info::new(), |info, (key, value)| info.with(key, value))
    }
}
