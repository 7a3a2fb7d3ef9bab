//! All tests of a command line, one after the other, and what is printed of them.

use crate::aiori::Backend;
use crate::ior::check::checked;
use crate::ior::outliers::RANKS_HEADER;
use crate::ior::output::Output;
use crate::ior::params::{Format, Line, Params};
use crate::ior::report::{self, Context as Setting, Item};
use crate::ior::summary::{self, Outcome};
use crate::ior::test::{Measured, Shown, Test};
use crate::ior::{names, script};
use crate::machine;
use crate::ranks::{Nodes, Ranks};
use anyhow::{Context, Result, anyhow};
use mpi::topology::SimpleCommunicator;

/// Runs everything; returns how many transfers were wrong. Collective; an error of any rank ends the run on all of them by
/// `MPI_Abort`, which is the caller's part.
pub fn run(tests: &[Params], line: &Line, world: &SimpleCommunicator, command: &str) -> Result<u64> {
    let world = Ranks::new(world);
    let nodes = world.nodes();
    let mut run = Run { world: &world, nodes, output: Output::new(line, world.is_root())?, json: Vec::new() };
    run.begin(command)?;
    let mut outcomes = Vec::new();
    let mut errors = 0;
    for params in tests {
        let (outcome, wrong) = run.test(params)?;
        errors += world.of_root(wrong);
        outcomes.extend(outcome);
    }
    run.end(outcomes)?;
    Ok(errors)
}

/// The tests of a command line, checked, with the warnings of all of them. The script is read by rank 0. Collective.
pub fn tests(line: &mut Line, world: &SimpleCommunicator) -> Result<(Vec<Params>, Vec<String>), String> {
    let ranks = Ranks::new(world);
    let tests = match line.script.clone() {
        None => vec![line.params.clone()],
        Some(name) => {
            let text =
                if ranks.is_root() { std::fs::read(&name).map_err(|error| error.to_string()) } else { Ok(Vec::new()) };
            let failed = ranks.of_root(u8::from(text.is_err())) > 0;
            if failed {
                return Err(format!("cannot read the script {name}: {}", text.err().unwrap_or_default()));
            }
            let text = ranks.bytes_of_root(text.unwrap_or_default());
            script::tests(line, &String::from_utf8_lossy(&text))?
        }
    };
    let mut all = (Vec::new(), Vec::new());
    for test in tests {
        let (params, warnings) = checked(test, line)?;
        all.0.push(params);
        all.1.extend(warnings);
    }
    Ok(all)
}

struct Run<'a> {
    world: &'a Ranks,
    nodes: Nodes,
    output: Output,
    json: Vec<(&'static str, Item)>,
}

impl Run<'_> {
    fn begin(&mut self, command: &str) -> Result<()> {
        let fields: Vec<(&'static str, Item)> = vec![
            ("Began", machine::time().into()),
            ("Command line", command.into()),
            ("Machine", machine::name().into()),
        ];
        let version = machine::IOR_VERSION;
        self.output
            .table(&format!("IOR-{version}: MPI Coordinated Test of Parallel I/O\n{}", report::lines(&fields)))?;
        self.json.push(("Version", version.into()));
        self.json.extend(fields);
        self.json.push(("tests", Item::List(Vec::new())));
        Ok(())
    }

    /// One test; no outcome on ranks that do not take part.
    fn test(&mut self, params: &Params) -> Result<(Option<Outcome>, u64)> {
        let wanted = params.tasks.unwrap_or(self.world.size);
        let tasks = wanted.min(self.world.size);
        if wanted > tasks {
            let available = self.world.size;
            self.output.say(&format!(
                "WARNING: More tasks requested ({wanted}) than available ({available}), running with {tasks} tasks."
            ));
        }
        let ranks = self.world.first(tasks);
        let taken = match &ranks {
            Some(ranks) => self.taken(params, ranks).map(|(outcome, errors)| (Some(outcome), errors)),
            None => Ok((None, 0)),
        };
        let taken = taken?;
        self.world.barrier();
        Ok(taken)
    }

    fn taken(&mut self, params: &Params, ranks: &Ranks) -> Result<(Outcome, u64)> {
        let mut params = params.clone();
        if params.platform.is_empty() {
            params.platform = machine::platform();
        }
        let nodes = Nodes {
            count: params.nodes.unwrap_or(self.nodes.count),
            ranks_on_first: params.tasks_on_node0.unwrap_or(self.nodes.ranks_on_first),
            ..self.nodes
        };
        params.aggregate_bytes(ranks.size).context("the file would be larger than 2^63 - 1 bytes")?;
        let backend = params.api.backend();
        let setting = Setting {
            tasks: ranks.size,
            tasks_on_node0: nodes.ranks_on_first,
            nodes: nodes.count,
            api_version: backend.version(),
            params,
        };
        let params = &setting.params;
        if let Some(name) = params.rank_details.as_ref().filter(|_| ranks.is_root()) {
            std::fs::write(name, RANKS_HEADER).with_context(|| format!("Cannot open {name} for write"))?;
        }
        let head = self.head(&setting, ranks, &*backend)?;
        let (format, mut objects) = (self.output.format(), Vec::new());
        let mut show = |output: &mut Output, shown: Shown| {
            objects.push(object(&setting, &shown));
            match (format, shown) {
                (Format::Default, Shown::Point(point)) => output.result(&report::table_line(&setting, point)),
                (Format::Default, Shown::Removal(number, seconds)) if params.verbose > 0 => {
                    output.result(&report::remove_line(seconds, number))
                }
                (Format::Csv, Shown::Point(point)) => output.result(&report::csv_line(&setting, point)),
                _ => Ok(()),
            }
        };
        let measured = Test::new(&setting, ranks, nodes, &*backend, &mut self.output)?.run(&mut show)?;
        self.keep_status(&setting, ranks, &measured)?;
        let (errors, outcome) = (measured.errors, Outcome { context: setting.clone(), points: measured.points });
        self.finish(head, objects, &outcome)?;
        Ok((outcome, errors))
    }

    /// What is said of a test before it begins.
    fn head(&mut self, setting: &Setting, ranks: &Ranks, backend: &dyn Backend) -> Result<Vec<(&'static str, Item)>> {
        let params = &setting.params;
        let mut fields: Vec<(&'static str, Item)> =
            vec![("TestID", params.id.into()), ("StartTime", machine::time().into())];
        self.output.table(&report::lines(&fields))?;
        if ranks.is_root() && params.dry_run == 0 {
            let name = names::file(params, 0, 0);
            let space = backend.space(&name)?;
            self.output.table(&machine::space_lines(&name, &space))?;
            fields.extend(machine::space_fields(&name, &space));
        }
        let (parameters, options) = (report::parameters(setting), report::options(setting));
        if params.verbose >= 3 {
            self.output.table(&format!("\nParameters: \n{}", report::lines(&parameters)))?;
        }
        self.output.table(&format!("\nOptions: \n{}\nResults: \n{}", report::lines(&options), report::HEADER))?;
        if self.output.format() == Format::Csv {
            self.output.result(report::CSV_HEADER)?;
        }
        fields.push(("Parameters", Item::Object(parameters)));
        fields.push(("Options", Item::Object(options)));
        Ok(fields)
    }

    /// Keeps the number of transfers for a run that reads.
    fn keep_status(&mut self, setting: &Setting, ranks: &Ranks, measured: &Measured) -> Result<()> {
        let params = &setting.params;
        if params.wear_out == 0 || params.write == 0 || !ranks.is_root() {
            return Ok(());
        }
        match &params.status_file {
            Some(name) => std::fs::write(name, measured.pairs.to_string())
                .with_context(|| format!("Cannot write to the stonewalling file {name}")),
            None => {
                self.output.say(&format!("Pairs deadlineForStonewallingaccessed: {}", measured.pairs));
                Ok(())
            }
        }
    }

    fn finish(&mut self, mut head: Vec<(&'static str, Item)>, objects: Vec<Item>, outcome: &Outcome) -> Result<()> {
        if outcome.context.params.summary_always > 0 {
            self.output.table(&format!("{}{}", summary::long_header(), summary::long(outcome)))?;
        } else {
            self.output.table(&summary::short(outcome))?;
        }
        head.push(("Results", Item::List(objects)));
        head.push(("max", summary::short_object(outcome)));
        if let Some((_, Item::List(tests))) = self.json.iter_mut().find(|(name, _)| *name == "tests") {
            tests.push(Item::Object(head));
        }
        Ok(())
    }

    fn end(mut self, outcomes: Vec<Outcome>) -> Result<()> {
        let lines: String = outcomes.iter().map(summary::long).collect();
        let finished: Vec<(&'static str, Item)> = vec![("Finished", machine::time().into())];
        self.output.table(&format!(
            "\nSummary of all tests:{}{lines}{}",
            summary::long_header(),
            report::lines(&finished)
        ))?;
        if self.output.format() == Format::Json {
            self.json.push(("summary", Item::List(outcomes.iter().flat_map(summary::long_objects).collect())));
            self.json.extend(finished);
            let json = serde_json::to_string_pretty(&Item::Object(self.json)).map_err(|error| anyhow!(error))?;
            self.output.result(&format!("{json}\n"))?;
        }
        Ok(())
    }
}

fn object(setting: &Setting, shown: &Shown) -> Item {
    match shown {
        Shown::Point(point) => report::object(setting, point),
        Shown::Removal(_, seconds) => Item::Object(vec![("access", "remove".into()), ("totalTime", (*seconds).into())]),
    }
}
