//! `cb_config_list`: which ranks may be aggregators, by the nodes that they are on (ROMIO's user's guide, "Hints").

use super::HintError;
use crate::collective::Nodes;
use std::fmt;

/// `HOST[:MAX],…`, where `*` is every host that is not named before, or all ranks of a host; without `:MAX` it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigList(Vec<Component>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Component {
    /// Nothing for any.
    host: Option<String>,
    /// Nothing for as many as there are.
    max: Option<u32>,
}

impl ConfigList {
    /// Reads the value of the hint.
    pub fn parse(value: &str) -> Result<ConfigList, HintError> {
        let refused = || HintError::ConfigList { value: value.to_owned() };
        let component = |text: &str| {
            let (host, max) = text.trim().split_once(':').unwrap_or((text.trim(), "1"));
            let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if host.is_empty() || (host != "*" && !host.chars().all(is_name)) {
                return Err(refused());
            }
            let max = if max == "*" { None } else { Some(max.parse().map_err(|_| refused())?) };
            Ok(Component { host: (host != "*").then(|| host.to_owned()), max })
        };
        Ok(ConfigList(value.split(',').map(component).collect::<Result<_, _>>()?))
    }

    /// The ranks that may be aggregators, those of components that come first in front; within a component ranks of
    /// different nodes come before second ones of the same.
    pub fn ranks(&self, nodes: &Nodes) -> Vec<u32> {
        let mut left: Vec<bool> = vec![true; nodes.count()];
        let mut chosen = Vec::new();
        for component in &self.0 {
            let is_meant = |name: &str| component.host.as_ref().is_none_or(|host| host == name);
            let meant: Vec<usize> =
                (0..nodes.count()).filter(|&node| left[node] && is_meant(nodes.name(node))).collect();
            let max = component.max.map_or(usize::MAX, |max| max as usize);
            let of = |node: &usize| nodes.ranks_of(*node).take(max).enumerate();
            let mut ranks: Vec<(usize, u32)> = meant.iter().flat_map(of).collect();
            ranks.sort_unstable();
            chosen.extend(ranks.into_iter().map(|(_, rank)| rank));
            meant.into_iter().for_each(|node| left[node] = false);
        }
        chosen
    }
}

impl fmt::Display for ConfigList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Component { host, max }) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}:", host.as_deref().unwrap_or("*"))?;
            match max {
                Some(max) => write!(f, "{max}")?,
                None => f.write_str("*")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Nodes {
        Nodes::new(["a", "a", "b", "b", "b", "c"])
    }

    fn ranks(list: &str) -> Vec<u32> {
        ConfigList::parse(list).unwrap().ranks(&nodes())
    }

    #[test]
    fn a_list_chooses_ranks_by_their_nodes() {
        assert_eq!(ranks("*:1"), [0, 2, 5]);
        assert_eq!(ranks("*"), [0, 2, 5], "one is assumed");
        assert_eq!(ranks("*:*"), [0, 2, 5, 1, 3, 4]);
        assert_eq!(ranks("c:1,b:2"), [5, 2, 3], "the leftmost comes first");
        assert_eq!(ranks("b:0,*:*"), [0, 5, 1], "zero keeps a node free");
        assert_eq!(ranks("b,b:*"), [2], "a node is matched once");
        assert_eq!(ranks("nobody:7"), [0u32; 0]);
    }

    #[test]
    fn a_list_comes_back_in_full() {
        assert_eq!(ConfigList::parse("n01, n-2.x:* ,*:3").unwrap().to_string(), "n01:1,n-2.x:*,*:3");
        for wrong in ["", "a,,b", ":1", "a:b", "a b", "a:-1", "a:1:2", "a\nb"] {
            assert!(ConfigList::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
