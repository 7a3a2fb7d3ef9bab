//! `pfs rm`: removes files, and directories with everything below them.

use crate::connection::{Connection, cannot};
use crate::failure::{Failure, Outcome, for_each};
use crate::names::RemoteName;
use clap::Args;
use pfs_client::blocking::Client;
use pfs_client::{EntryKind, Error, ErrorKind};

/// Remove files
#[derive(Debug, Args)]
pub struct Flags {
    /// Remove directories too, with everything below them
    #[arg(short, long)]
    recursive: bool,

    /// What is not there is no failure
    #[arg(short, long)]
    force: bool,

    /// The files and directories
    #[arg(required = true)]
    path: Vec<String>,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    let names = flags.path.iter().map(|path| RemoteName::parse(path)).collect::<Result<Vec<_>, _>>()?;
    let mut clusters = connection.clusters();
    for_each(&names, |name| {
        if name.last_name().is_none() {
            return Err(
                Failure::because(format_args!("remove {name}"), "it is the root directory").next("name what is in it")
            );
        }
        let client = &clusters.of(name)?.client;
        match if flags.recursive { remove_tree(client, name) } else { remove_one(client, name, EntryKind::File) } {
            Err(problem) if problem.is_absence() && flags.force => Ok(()),
            Err(problem) => Err(problem.into()),
            Ok(()) => Ok(()),
        }
    })
}

/// What could not be removed, and why.
enum Problem {
    Servers { name: RemoteName, error: Error },
    Name(Failure),
}

impl Problem {
    fn is_absence(&self) -> bool {
        matches!(self, Problem::Servers { error, .. } if error.kind() == ErrorKind::NotFound)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Name(failure) => failure,
            Problem::Servers { name, error } => {
                let failure = cannot(format_args!("remove {name}"), &error);
                match error.kind() {
                    ErrorKind::IsADirectory => failure.next("give -r to remove it with everything below it"),
                    _ => failure,
                }
            }
        }
    }
}

fn on(name: &RemoteName) -> impl FnOnce(Error) -> Problem {
    |error| Problem::Servers { name: name.clone(), error }
}

fn remove_one(client: &Client, name: &RemoteName, kind: EntryKind) -> Result<(), Problem> {
    client.remove(&name.path, Some(kind)).map_err(on(name))
}

enum Step {
    Visit(RemoteName, EntryKind),
    Leave(RemoteName),
}

/// Depth first, without recursion: a directory goes when everything in it is gone. What somebody else removed
/// meanwhile is gone too.
fn remove_tree(client: &Client, root: &RemoteName) -> Result<(), Problem> {
    let kind = client.stat(&root.path).map_err(on(root))?.kind;
    let mut steps = vec![Step::Visit(root.clone(), kind)];
    while let Some(step) = steps.pop() {
        let done = match step {
            Step::Visit(name, EntryKind::File) => remove_one(client, &name, EntryKind::File),
            Step::Leave(name) => remove_one(client, &name, EntryKind::Directory),
            Step::Visit(name, EntryKind::Directory) => visit_directory(client, name, &mut steps),
        };
        match done {
            Err(problem) if problem.is_absence() => {}
            done => done?,
        }
    }
    Ok(())
}

fn visit_directory(client: &Client, name: RemoteName, steps: &mut Vec<Step>) -> Result<(), Problem> {
    let entries = client.list(&name.path).map_err(on(&name))?;
    steps.push(Step::Leave(name.clone()));
    for entry in entries {
        steps.push(Step::Visit(name.join(&entry.name).map_err(Problem::Name)?, entry.status.kind));
    }
    Ok(())
}
