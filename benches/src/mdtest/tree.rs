//! Which items a rank has, in which order, and how they are called.
//!
//! ```text
//! DIR/test-dir.ITERATION-LOOP/mdtest_tree[.RANK].0/                  node 0
//!                                 mdtest_tree[.RANK].1/              node 1, …
//!                                 file.mdtest.RANK.NUMBER, dir.mdtest.RANK.NUMBER
//! ```
//!
//! The children of node n are the nodes n·b + 1 to n·b + b. The items of node n have the numbers from n·k on, if each node has
//! k. A rank's items are a sequence, so that a run may stop anywhere in it and another one go on.

use crate::mdtest::params::Params;

/// The items of each rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    branch: u64,
    /// Nodes of the tree.
    pub nodes: u64,
    /// The first node that has items.
    first: u64,
    per_node: u64,
    /// Trees beside each other.
    pub loops: u64,
    is_unique: bool,
    is_shared: bool,
}

/// A file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

impl Items {
    /// The items that the parameters ask for.
    pub fn new(params: &Params) -> Items {
        let (branch, depth) = (params.branch_factor, u32::try_from(params.depth).unwrap_or(u32::MAX));
        let level = |depth: u32| branch.saturating_pow(depth);
        let nodes = match branch {
            _ if depth == 0 => 1,
            0 | 1 => params.depth + 1,
            _ => (level(depth + 1) - 1) / (branch - 1),
        };
        let leaves = if branch <= 1 { 1 } else { level(depth) };
        let with_items = if params.leaf_only > 0 { leaves } else { nodes };
        let loops = match (params.items, params.items_per_dir) {
            (items, per_dir) if items > 0 && per_dir > 0 => items / per_dir,
            _ => 1,
        };
        let per_node = if params.items_per_dir > 0 { params.items_per_dir } else { params.items / with_items };
        Items {
            branch,
            nodes,
            first: nodes - with_items,
            per_node,
            loops,
            is_unique: params.unique > 0,
            is_shared: params.shared > 0,
        }
    }

    /// Number of a rank's items.
    pub fn count(&self) -> u64 {
        self.loops * (self.nodes - self.first) * self.per_node
    }

    /// The path of an item of the sequence below the directory of the test, and its number.
    pub fn path(&self, kind: Kind, iteration: u64, owner: u64, at: u64) -> (String, u64) {
        let per_loop = (self.nodes - self.first) * self.per_node;
        let (tree, within) = (at / per_loop, at % per_loop);
        let node = self.first + within / self.per_node;
        let number = node * self.per_node + within % self.per_node;
        let kind = match kind {
            Kind::File => "file",
            Kind::Directory => "dir",
        };
        let who = if self.is_shared { "shared".to_owned() } else { owner.to_string() };
        (format!("{}/{kind}.mdtest.{who}.{number}", self.node(iteration, tree, owner, node)), number)
    }

    /// The directory of a loop.
    pub fn test_directory(iteration: u64, tree: u64) -> String {
        format!("test-dir.{iteration}-{tree}")
    }

    /// The path of a node of an owner's tree.
    pub fn node(&self, iteration: u64, tree: u64, owner: u64, node: u64) -> String {
        let base = if self.is_unique { format!("mdtest_tree.{owner}") } else { "mdtest_tree".to_owned() };
        let mut parts = Vec::new();
        let mut at = node;
        while at > 0 {
            parts.push(format!("{base}.{at}"));
            at = (at - 1) / self.branch;
        }
        parts.push(format!("{base}.0"));
        parts.push(Items::test_directory(iteration, tree));
        parts.reverse();
        parts.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mdtest::options::parse;
    use std::collections::BTreeSet;
    use std::ffi::OsString;

    fn items(text: &str) -> Items {
        Items::new(&parse(text.split_whitespace().map(OsString::from)).unwrap().0)
    }

    fn files(items: &Items, owner: u64) -> Vec<String> {
        (0..items.count()).map(|at| items.path(Kind::File, 0, owner, at).0).collect()
    }

    #[test]
    fn one_directory_has_all_items() {
        let items = items("-n 2");
        let root = "test-dir.0-0/mdtest_tree.0";
        assert_eq!(files(&items, 3), [format!("{root}/file.mdtest.3.0"), format!("{root}/file.mdtest.3.1")]);
        assert_eq!(items.path(Kind::Directory, 1, 0, 1).0, "test-dir.1-0/mdtest_tree.0/dir.mdtest.0.1");
    }

    #[test]
    fn items_are_spread_over_the_nodes_of_a_tree() {
        let seven = items("-n 7 -b 2 -z 2 -u");
        assert_eq!((seven.nodes, seven.count()), (7, 7));
        let tree = "mdtest_tree.1";
        assert_eq!(
            files(&seven, 1)[4],
            format!("test-dir.0-0/{tree}.0/{tree}.1/{tree}.4/file.mdtest.1.4"),
            "node 4 is a child of node 1"
        );
        assert_eq!(files(&seven, 1).iter().collect::<BTreeSet<_>>().len(), 7);
        assert_eq!(items("-n 20 -b 2 -z 2").count(), 14, "as many as can be spread evenly");
        assert_eq!(items("-n 6 -z 2").nodes, 3);
    }

    #[test]
    fn leaves_only() {
        let leaves = items("-I 3 -b 2 -z 2 -L");
        assert_eq!(leaves.count(), 12);
        assert!(files(&leaves, 0)[0].ends_with("mdtest_tree.3/file.mdtest.0.9"), "{}", files(&leaves, 0)[0]);
        let line = files(&items("-n 5 -b 1 -z 3 -L"), 0)[0].clone();
        assert!(line.ends_with("mdtest_tree.3/file.mdtest.0.15"), "{line}");
    }

    #[test]
    fn more_items_than_a_directory_has_are_in_further_trees() {
        let items = items("-n 6 -I 2 -S");
        assert_eq!((items.loops, items.count()), (3, 6));
        assert_eq!(files(&items, 2)[5], "test-dir.0-2/mdtest_tree.0/file.mdtest.shared.1");
    }
}
