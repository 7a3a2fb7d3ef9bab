//! Every `MPI_File_*` function of the MPI's header, by the program `c/functions`: theirs and ours compared call by call.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::compare::Comparison;
use super::differences::Differences;
use super::job::{Ground, Side};
use super::observed::Observations;
use crate::mpi::Mpi;
use crate::step::Step;
use crate::test::findings::Findings;

const SOURCES: [&str; 8] = [
    "c/functions/main.c",
    "c/functions/observe.c",
    "c/functions/opening.c",
    "c/functions/views.c",
    "c/functions/handles.c",
    "c/functions/requests.c",
    "c/functions/buffers.c",
    "c/functions/ways.c",
];
const LIMIT: Duration = Duration::from_secs(300);
/// How often MPI's own implementation may end in a section that is not known for that.
const ENDS_MAX: usize = 3;
/// What a section may take; one of a busy machine is slow, and one that does not end costs all of it.
const SECTION_SECONDS: [(Side, &str); 2] = [(Side::Theirs, "20"), (Side::Ours, "90")];

/// Runs the program on both sides, and once more for each level of threads.
pub fn run(ground: &Ground<'_>, findings: &mut Findings) -> Result<()> {
    let program = ground.compile("mpicc", &SOURCES, "functions", &["-Wextra", "-Werror"])?;
    let program = program.display().to_string();
    findings.check(&format!("every function, {}, {} ranks", ground.mpi.name(), ground.ranks), || {
        let known = Differences::load(ground.mpi)?;
        let declared = declared(ground.mpi)?;
        let (theirs, ended) = theirs(ground, &program, &known)?;
        let ours = observe(ground, Side::Ours, &program, &[])?;
        ensure!(ours.ended_in.is_none(), "ours ended in the section {:?}", ours.ended_in);
        let comparison = Comparison::of(&theirs, &ours, &known, &declared);
        let shown = format!("{}{}", comparison.table(), comparison.summary());
        let unexpected = &comparison.unexpected;
        ensure!(unexpected.is_empty(), "{shown}\n{} not noted:\n{}", unexpected.len(), unexpected.join("\n"));
        let ended = ended.iter().chain(&known.ends).map(|section| format!("\ntheirs does not end: {section}"));
        Ok(shown + &ended.collect::<String>())
    });
    findings.check(&format!("levels of threads, {}", ground.mpi.name()), || {
        for level in ["single", "funneled", "serialized", "multiple"] {
            for section in ["threads", "requests", "requests tested together"] {
                let arguments = ["--only", section, "--level", level];
                let seen = observe(ground, Side::Ours, &program, &arguments)?;
                ensure!(seen.ended_in.is_none(), "{level}: ended in {section}");
                let wrong = seen.seen.iter().find(|(_, seen)| !seen.conforms());
                ensure!(wrong.is_none() && !seen.seen.is_empty(), "{level}: {wrong:?}");
            }
        }
        Ok(String::new())
    });
    Ok(())
}

/// What MPI's own implementation does, and sections in which it ended unexpectedly.
fn theirs(ground: &Ground<'_>, program: &str, known: &Differences) -> Result<(Observations, Vec<String>)> {
    let (mut all, mut ended): (Observations, Vec<String>) = (Observations::default(), Vec::new());
    loop {
        let from = ended.last().map_or(vec![], |section| vec!["--from".to_owned(), section.clone()]);
        let left_out = known.ends.iter().chain(&ended);
        let skips = left_out.flat_map(|section| ["--skip".to_owned(), section.clone()]);
        let arguments: Vec<String> = from.into_iter().chain(skips).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let seen = observe(ground, Side::Theirs, program, &arguments)?;
        all.seen.extend(seen.seen);
        match seen.ended_in {
            None => return Ok((all, ended)),
            Some(section) => {
                ensure!(ended.len() < ENDS_MAX && !ended.contains(&section), "theirs ends in {ended:?} and {section}");
                ended.push(section);
            }
        }
    }
}

/// One run; that it ends early is no error.
fn observe(ground: &Ground<'_>, side: Side, program: &str, arguments: &[&str]) -> Result<Observations> {
    let folder = tempfile::tempdir_in(ground.path(""))?;
    let out = folder.path().join("seen");
    let files = match side {
        Side::Theirs => format!("{}/", folder.path().display()),
        Side::Ours => {
            let name = folder.path().file_name().unwrap_or_default().to_string_lossy().replace('.', "");
            format!("pfs:/{}-{name}-", ground.mpi.name())
        }
    };
    let mut command = ground.launch(side, ground.ranks);
    command.arg(program).arg(&out).arg(&files).args(arguments);
    for (of, seconds) in SECTION_SECONDS {
        if of == side {
            command.args(["--seconds", seconds]);
        }
    }
    let finished = Step::new(format!("functions, {}", side.name()), command, LIMIT).run_any_status()?;
    let seen = Observations::read(&out, ground.ranks)?;
    let failed_at_its_end = !finished.status.success() && seen.ended_in.is_none();
    ensure!(!failed_at_its_end || side == Side::Theirs, "{}{}", finished.status, finished.indented_output());
    ensure!(
        seen.ended_in.is_none() || side == Side::Theirs,
        "ended in {:?}{}",
        seen.ended_in,
        finished.indented_output()
    );
    Ok(seen)
}

/// What the header declares, conversions of handles included.
fn declared(mpi: Mpi) -> Result<Vec<String>> {
    let mut command = Command::new(mpi.compiler());
    command.args(["-E", "-include", "mpi.h", "-x", "c", "/dev/null"]);
    let text = Step::new("the header's functions", command, LIMIT).run()?.stdout;
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let is_one = |word: &&str| word.starts_with("MPI_File_") || word.starts_with("MPI_Register_datarep");
    let is_type = |word: &&str| word.ends_with("_function") || word.ends_with("_fn");
    let mut names: Vec<String> = words.filter(is_one).filter(|word| !is_type(word)).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    ensure!(names.len() >= 60, "only {} functions in the header", names.len());
    Ok(names)
}
