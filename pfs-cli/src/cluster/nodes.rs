//! File servers on other nodes: who starts them there, and what they are told.
//!
//! `pfs start` runs a *launcher* for each node, or one for all, as a background process: `srun`, `ssh` or whatever else runs a
//! command elsewhere. The command is `pfs server node`, without a word of its own: what it is to do comes over its standard
//! input, and with it the secret, which so is on no command line. A launcher's input is a FIFO in the cluster's directory that
//! stays open as long as the launcher lives; `pfs stop` writes the last line into it.

use super::file_options::FileOptions;
use super::process::ProcessRecord;
use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// What a launcher has for a node, for all of them with commas, and for their number.
const NODE: &str = "{node}";
const NODES: &str = "{nodes}";
const COUNT: &str = "{count}";

const SSH: &str = "ssh {node}";
const SRUN: &str = "srun --overlap --mpi=none --kill-on-bad-exit=1 --input=all --job-name=pfs-servers --nodes={count} \
                    --ntasks={count} --ntasks-per-node=1 --nodelist={nodes}";

/// The last line of a node's input: end, and leave the stores.
pub const STOP: &str = "stop";
/// The last line of a node's input: end, and remove the stores.
pub const REMOVE: &str = "remove";

/// The nodes of a cluster whose file servers are not all on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// Their names, as the launcher knows them.
    pub names: Vec<String>,
    /// The command that runs another one on a node, with `{node}`; or on all, with `{nodes}` and `{count}`.
    pub launch: String,
    /// A folder of every node; each has one of its own name in it.
    pub directory: PathBuf,
    /// File servers on each node.
    pub file_servers: u16,
    /// The stores go when the servers end, however that is.
    pub ephemeral: bool,
    /// Who asked for them; see [`Order::owner`].
    #[serde(default)]
    pub owner: Option<ProcessRecord>,
    /// See [`Order::linger_s`].
    #[serde(default)]
    pub linger_s: u16,
}

/// The first line of a node's input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The node's name; nothing: it knows it itself.
    pub name: Option<String>,
    /// A folder of the node, for a folder of its name.
    pub directory: PathBuf,
    /// How many file servers.
    pub file_servers: u16,
    /// Options of each.
    pub options: FileOptions,
    /// Addresses of the metadata server.
    pub metadata: Vec<String>,
    /// The secret as its file has it.
    pub secret: String,
    /// The stores go when the servers end, however that is.
    pub ephemeral: bool,
    /// The cluster's directory, on the host of that name.
    pub cluster: (PathBuf, String),
    /// If this process has gone when the node's servers end, nobody is left to end the metadata server: the node on the
    /// cluster's host does.
    pub owner: Option<ProcessRecord>,
    /// Seconds for which the servers go on after a signal, so that the owner, who has the same signal, may still save
    /// something; it tells when it has.
    pub linger_s: u16,
}

/// A process that starts servers on one node or on all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    /// Name of its process, input and log.
    pub name: String,
    /// The node; nothing: all.
    pub node: Option<String>,
    /// The program and its arguments.
    pub command: Vec<OsString>,
}

impl Nodes {
    /// The launcher that fits where this runs.
    pub fn usual_launch() -> &'static str {
        if env::var_os("SLURM_JOB_ID").is_some() { SRUN } else { SSH }
    }

    /// Names of nodes, one a line. What comes after a name, like `slots=4` or `:4`, is somebody else's; so is a comment.
    pub fn parse_names(text: &str) -> Result<Vec<String>, String> {
        let mut seen = BTreeSet::new();
        let mut names = Vec::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let Some(name) = line.split([' ', '\t', ':']).find(|word| !word.is_empty()) else { continue };
            if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
                || name.starts_with(['-', '.'])
            {
                return Err(format!("{name:?} is no name of a node"));
            }
            if seen.insert(name) {
                names.push(name.to_owned());
            }
        }
        if names.is_empty() { Err("it names no node".to_owned()) } else { Ok(names) }
    }

    /// Names of the launchers' processes.
    pub fn processes(&self) -> Vec<String> {
        match self.at_once() {
            true => vec!["nodes".to_owned()],
            false => self.names.iter().map(|name| format!("node-{name}")).collect(),
        }
    }

    fn at_once(&self) -> bool {
        self.launch.contains(NODES)
    }

    /// All launchers; each runs `pfs server node` by the name of this very program.
    pub fn launchers(&self) -> Result<Vec<Launcher>, Failure> {
        let program = env::current_exe().map_err(|error| Failure::cannot("find this program", &error))?;
        let program = program.to_string_lossy().into_owned();
        // A launcher like ssh hands its words to a shell.
        if !program.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.+".contains(&byte)) {
            let problem = format!("{program:?} has characters that a shell on a node may take for something else");
            return Err(Failure::because("start servers on nodes", problem).next("install pfs at a plain path"));
        }
        let launcher = |name: String, node: Option<&str>| {
            let words = self.launch.split_whitespace().map(|word| {
                let word = word.replace(NODES, &self.names.join(",")).replace(COUNT, &self.names.len().to_string());
                node.map_or(word.clone(), |node| word.replace(NODE, node))
            });
            let command = words.chain([program.clone(), "server".into(), "node".into()]).map(OsString::from).collect();
            Launcher { name, node: node.map(str::to_owned), command }
        };
        Ok(match self.at_once() {
            true => vec![launcher("nodes".to_owned(), None)],
            false => self
                .names
                .iter()
                .zip(self.processes())
                .map(|(node, name)| launcher(name, Some(node.as_str())))
                .collect(),
        })
    }

    /// Whether a launcher's text can be used.
    pub fn check_launch(launch: &str) -> Result<String, String> {
        if launch.contains(NODE) != launch.contains(NODES) {
            return Ok(launch.to_owned());
        }
        Err(format!("it must have {NODE} for the name of one node, or {NODES} for all names with commas between them"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(launch: &str) -> Nodes {
        Nodes {
            names: vec!["n1".into(), "n2".into()],
            launch: launch.into(),
            directory: "/local".into(),
            file_servers: 1,
            ephemeral: false,
            owner: None,
            linger_s: 0,
        }
    }

    #[test]
    fn names_of_all_kinds_of_node_files() {
        let text = "n1 slots=4\n\n# all\nn2:8\n  n3\nn1\nnode-4.cluster\t2 # the last\n";
        assert_eq!(Nodes::parse_names(text).unwrap(), ["n1", "n2", "n3", "node-4.cluster"]);
        for wrong in ["", "# none", "$(reboot)", "-o", "..", "a/b", "n1;n2"] {
            assert!(Nodes::parse_names(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_launcher_for_each_node_or_one_for_all() {
        let words = |launcher: &Launcher| -> Vec<String> {
            launcher.command.iter().map(|word| word.to_string_lossy().into_owned()).collect()
        };
        let each = nodes(SSH).launchers().unwrap();
        assert_eq!((each[1].name.as_str(), each[1].node.as_deref()), ("node-n2", Some("n2")));
        assert_eq!(words(&each[1])[..2], ["ssh", "n2"]);
        assert_eq!(words(&each[1])[3..], ["server", "node"]);
        let all = nodes(SRUN).launchers().unwrap();
        assert_eq!(all.len(), 1);
        let words = words(&all[0]);
        assert!(words.contains(&"--nodelist=n1,n2".to_owned()) && words.contains(&"--nodes=2".to_owned()), "{words:?}");
        assert_eq!(nodes(SRUN).processes(), ["nodes"]);
        for wrong in ["ssh", "srun {node} {nodes}"] {
            assert!(Nodes::check_launch(wrong).is_err(), "{wrong} was taken");
        }
    }
}
