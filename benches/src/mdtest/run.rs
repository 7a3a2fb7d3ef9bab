//! A whole run: numbers of ranks from the first to the last, iterations, and what is printed.

use crate::aiori::Backend;
use crate::machine;
use crate::mdtest::params::Params;
use crate::mdtest::phases::Phases;
use crate::mdtest::summary::{self, Iteration, Measured, TESTS};
use crate::mdtest::tree::Items;
use crate::ranks::{Nodes, Ranks};
use anyhow::{Context, Result};
use mpi::topology::SimpleCommunicator;
use std::time::{SystemTime, UNIX_EPOCH};

/// Runs everything; returns how many files were wrong. Collective; an error of any rank ends the run on all of them by
/// `MPI_Abort`, which is the caller's part.
pub fn run(params: &Params, world: &SimpleCommunicator, command: &[String]) -> Result<u64> {
    let world = Ranks::new(world);
    let nodes = world.nodes();
    let backend = params.api.backend();
    let root = params.paths[(world.rank % params.paths.len() as u64) as usize].clone();
    let run = Run { params, world: &world, nodes, backend: &*backend, root };
    run.all(command)
}

struct Run<'a> {
    params: &'a Params,
    world: &'a Ranks,
    nodes: Nodes,
    backend: &'a dyn Backend,
    root: String,
}

impl Run<'_> {
    fn all(&self, command: &[String]) -> Result<u64> {
        let (params, world) = (self.params, self.world);
        self.begin(command);
        let made = world.rank < params.paths.len() as u64 && !self.backend.exists(&self.root)?;
        if made {
            self.backend.make_directory(&self.root)?;
        }
        world.barrier();
        if world.is_root() {
            let space = self.backend.space(&self.root)?;
            print!("{}", machine::space_lines(&self.root, &space));
        }
        if let Some(name) = params.rank_details.as_ref().filter(|_| world.is_root()) {
            std::fs::write(name, summary::details_header()).with_context(|| format!("Cannot open {name} for write"))?;
        }
        let stride = self.stride();
        let mut errors = 0;
        let step = usize::try_from(params.step)?;
        for tasks in (params.first..=params.last).step_by(step) {
            if let Some(ranks) = world.first(tasks) {
                errors += self.tasks(&ranks, stride)?;
            }
            world.barrier();
        }
        if made && params.remove > 0 {
            self.backend.remove_directory(&self.root)?;
        }
        self.say(&format!("-- finished at {} --\n", machine::stamp()));
        Ok(world.of_root(errors))
    }

    fn begin(&self, command: &[String]) {
        let (version, tasks, nodes) = (machine::IOR_VERSION, self.world.size, self.nodes.count);
        let words: Vec<String> = command
            .iter()
            .enumerate()
            .map(|(i, word)| if i == 0 { word.clone() } else { format!("'{word}'") })
            .collect();
        self.say(&format!("-- started at {} --\n", machine::stamp()));
        self.say(&format!("mdtest-{version} was launched with {tasks} total task(s) on {nodes} node(s)"));
        self.say(&format!("Command line used: {}", words.join(" ")));
        if self.params.verbose > 0 {
            self.say(&format!("{:#?}", self.params));
        }
    }

    /// From task to task; on several nodes in blocks it goes to the next node.
    fn stride(&self) -> u64 {
        let stride = match self.nodes {
            Nodes { count, in_blocks: true, ranks_on_first } if count > 1 => self.params.stride * ranks_on_first,
            _ => self.params.stride,
        };
        if stride > 0 {
            self.say(&format!("Shifting ranks by {stride} for each phase."));
        }
        stride
    }

    fn tasks(&self, ranks: &Ranks, stride: u64) -> Result<u64> {
        let params = self.params;
        let items = ranks.size * Items::new(params).count();
        let what = match (params.files_only > 0, params.dirs_only > 0) {
            (true, true) => format!("{items} files/directories"),
            (true, false) if params.shared > 0 => "1 file".to_owned(),
            (true, false) => format!("{items} files"),
            _ => format!("{items} directories"),
        };
        self.say(&format!("{} tasks, {what}", ranks.size));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = ranks.of_root(params.signature.unwrap_or(now));
        let mut phases = Phases::new(params, ranks, self.backend, self.root.clone(), stride, signature)?;
        let mut all = Vec::new();
        for iteration in 0..params.iterations {
            let measured = phases.run(iteration)?;
            if let Some(text) = phases.take_stonewall() {
                self.say(&text);
            }
            all.push(gathered(ranks, &measured));
        }
        for number in summary::numbers(params) {
            if ranks.is_root() {
                print!("{}", summary::table(params, number, &all));
            }
        }
        if let Some(name) = params.rank_details.as_ref().filter(|_| ranks.is_root()) {
            let mut text = std::fs::read_to_string(name)?;
            text.push_str(&summary::details(&all));
            std::fs::write(name, text).with_context(|| format!("writing {name}"))?;
        }
        let errors = ranks.sum(phases.errors());
        if errors > 0 {
            let advice = "Take the performance values with care!";
            self.say(&format!("\nERROR: verifying the data on read ({errors} errors)! {advice}\n"));
        }
        Ok(errors)
    }

    fn say(&self, text: &str) {
        if self.world.is_root() {
            println!("{text}");
        }
    }
}

/// What every rank has measured.
fn gathered(ranks: &Ranks, own: &Iteration) -> Vec<Iteration> {
    let numbers: Vec<f64> = own.iter().flat_map(|one| [one.items, one.seconds, one.own_seconds]).collect();
    let back = |numbers: Vec<f64>| {
        let mut iteration = [Measured::default(); TESTS];
        for (one, numbers) in iteration.iter_mut().zip(numbers.chunks(3)) {
            *one = Measured { items: numbers[0], seconds: numbers[1], own_seconds: numbers[2] };
        }
        iteration
    };
    ranks.all(&numbers).into_iter().map(back).collect()
}
