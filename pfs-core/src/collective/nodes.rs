//! Which ranks share a node.
//!
//! Invariants: nodes are numbered by their first ranks; the ranks of a node are in order; every rank is on one node.

/// The nodes of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// By rank.
    node_of: Vec<usize>,
    /// By node: its name and its ranks.
    nodes: Vec<(String, Vec<u32>)>,
}

impl Nodes {
    /// From the name of each rank's node.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Nodes {
        Nodes::by_key(names.into_iter().map(|name| (name.as_ref().to_owned(), name.as_ref().to_owned())))
    }

    /// From what tells each rank's node from others, and the node's name.
    pub fn by_key<K: Ord>(places: impl IntoIterator<Item = (K, String)>) -> Nodes {
        let mut known = std::collections::BTreeMap::new();
        let mut nodes: Vec<(String, Vec<u32>)> = Vec::new();
        let place = |(rank, (key, name)): (u32, (K, String))| {
            let node = *known.entry(key).or_insert_with(|| {
                nodes.push((name, Vec::new()));
                nodes.len() - 1
            });
            nodes[node].1.push(rank);
            node
        };
        let node_of = (0..).zip(places).map(place).collect();
        Nodes { node_of, nodes }
    }

    /// Every rank on a node of its own, which is what is taken if nothing is known.
    pub fn apart(ranks: u32) -> Nodes {
        Nodes {
            node_of: (0..ranks as usize).collect(),
            nodes: (0..ranks).map(|rank| (rank.to_string(), vec![rank])).collect(),
        }
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> u32 {
        u32::try_from(self.node_of.len()).expect("MPI counts ranks in an int")
    }

    /// How many nodes there are.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// A node's name.
    pub fn name(&self, node: usize) -> &str {
        &self.nodes[node].0
    }

    /// A node's ranks, in order.
    pub fn ranks_of(&self, node: usize) -> impl Iterator<Item = u32> + '_ {
        self.nodes[node].1.iter().copied()
    }

    /// Whether any of them has several ranks.
    pub fn have_neighbours(&self) -> bool {
        self.nodes.len() < self.node_of.len()
    }

    /// The node that a rank is on.
    pub fn node_of(&self, rank: u32) -> usize {
        self.node_of[rank as usize]
    }
}
