//! How a program is launched: which MPI's launcher that is, the library for that MPI, and how ranks get both it and their
//! environment.
//!
//! Invariant: the program and its arguments are never changed; options are added for launchers that are known, right
//! after their name.

use super::FORWARDED;
use crate::failure::Failure;
use clap::ValueEnum;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const LIBRARY: &str = "libpfs_mpiio.so";
const PRELOAD_VARIABLE: &str = "LD_PRELOAD";

/// Which MPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Open MPI
    Openmpi,
    /// MPICH
    Mpich,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Openmpi => "openmpi",
            Kind::Mpich => "mpich",
        }
    }
}

/// How ranks get an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Open MPI's mpirun: `-x NAME=VALUE`.
    OpenMpi,
    /// MPICH's mpirun: `-genv NAME VALUE`.
    Hydra,
    /// Slurm's srun: `--export=ALL,NAME=VALUE`.
    Srun,
    /// They inherit it.
    Inherited,
}

/// The command line, and what is known of it.
#[derive(Debug)]
pub struct Launcher {
    words: Vec<OsString>,
    way: Way,
    mpi: Option<Kind>,
}

impl Launcher {
    /// What `words` launch; `mpi` is what the user says, and the launcher's own kind otherwise.
    pub fn new(words: Vec<OsString>, mpi: Option<Kind>) -> Self {
        let way = words.first().map_or(Way::Inherited, |program| way_of(program));
        let mpi = mpi.or(match way {
            Way::OpenMpi => Some(Kind::Openmpi),
            Way::Hydra => Some(Kind::Mpich),
            Way::Srun => srun_mpi(&words),
            Way::Inherited => None,
        });
        Launcher { words, way, mpi }
    }

    /// The library that ranks load: the given one, or the one for this MPI where it was installed or built.
    pub fn library(&self, given: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
        if let Some(given) = given {
            let tried = format!("load the library {}", given.display());
            let found = fs::canonicalize(given).map_err(|error| Failure::cannot(tried, &error))?;
            return loadable(found).map(Some);
        }
        let Some(mpi) = self.mpi else {
            if self.way == Way::Srun {
                eprintln!("note: no library is loaded into the ranks; say by --mpi which MPI they use");
            }
            return Ok(None);
        };
        let program = env::current_exe()
            .and_then(fs::canonicalize)
            .map_err(|error| Failure::cannot("find this program", &error))?;
        let found = places(&program, mpi).into_iter().find(|place| place.is_file());
        if found.is_none() {
            let mpi = mpi.name();
            eprintln!("note: there is no {LIBRARY} for {mpi} beside {}; none is loaded", program.display());
        }
        found.map(loadable).transpose()
    }

    /// The command with its environment, in which ranks load `library`.
    pub fn command(&self, variables: &[(&'static str, OsString)], library: Option<&Path>) -> Result<Command, Failure> {
        let [program, arguments @ ..] = self.words.as_slice() else {
            return Err(Failure::usage("no program was given"));
        };
        let mut command = Command::new(program);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let preload = library.map(|library| preload_value(library, env::var_os(PRELOAD_VARIABLE)));
        let known = |name: &str| {
            variables.iter().any(|(known, _)| *known == name)
                || env::var_os(name).is_some_and(|value| !value.is_empty())
        };
        match (self.way, preload) {
            (Way::OpenMpi, preload) => {
                // Ranks on other nodes inherit nothing.
                for name in FORWARDED.into_iter().filter(|name| known(name)) {
                    command.args(["-x", name]);
                }
                if let Some(preload) = preload {
                    command.arg("-x").arg(assignment(&preload));
                }
            }
            (Way::Hydra, Some(preload)) => {
                command.args(["-genv", PRELOAD_VARIABLE]).arg(preload);
            }
            (Way::Srun, Some(preload)) => {
                let mut export = OsString::from("--export=ALL,");
                export.push(assignment(&preload));
                command.arg(export);
            }
            (Way::Inherited, Some(preload)) => {
                command.env(PRELOAD_VARIABLE, preload);
            }
            (_, None) => {}
        }
        command.args(arguments);
        Ok(command)
    }
}

/// The loader takes spaces and colons for the ends of names.
fn loadable(library: PathBuf) -> Result<PathBuf, Failure> {
    match library.to_string_lossy().contains([' ', ':']) {
        false => Ok(library),
        true => Err(Failure::because(
            format_args!("load the library {}", library.display()),
            "its path has a space or a colon, which LD_PRELOAD can not have",
        )
        .next("give another path to it with --preload, such as a link")),
    }
}

fn assignment(preload: &OsStr) -> OsString {
    let mut text = OsString::from(PRELOAD_VARIABLE);
    text.push("=");
    text.push(preload);
    text
}

/// Before whatever is loaded already.
fn preload_value(library: &Path, earlier: Option<OsString>) -> OsString {
    let mut value = library.as_os_str().to_owned();
    if let Some(earlier) = earlier.filter(|earlier| !earlier.is_empty()) {
        value.push(":");
        value.push(earlier);
    }
    value
}

/// Where the library of an MPI can be: installed, or in the build that this program is of.
fn places(program: &Path, mpi: Kind) -> Vec<PathBuf> {
    let above = program.parent().and_then(Path::parent);
    above
        .iter()
        .flat_map(|above| [above.join("lib/pfs").join(mpi.name()), above.join("capi").join(mpi.name())])
        .map(|folder| folder.join(LIBRARY))
        .collect()
}

/// What a launcher is: by its name with links followed, or by what it says of itself.
fn way_of(program: &OsStr) -> Way {
    let path = find(program).unwrap_or_else(|| PathBuf::from(program));
    let names = [path.clone(), fs::canonicalize(&path).unwrap_or_default()];
    let names = names.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    let names: Vec<String> = names.collect();
    if let Some(way) = names.iter().find_map(|name| way_by_name(name)) {
        return way;
    }
    if names.iter().any(|name| name.starts_with("mpirun") || name.starts_with("mpiexec")) {
        return way_by_version(&path);
    }
    Way::Inherited
}

fn way_by_name(name: &str) -> Option<Way> {
    match name {
        "srun" => Some(Way::Srun),
        "orterun" | "prterun" => Some(Way::OpenMpi),
        _ if name.contains("openmpi") => Some(Way::OpenMpi),
        _ if name.contains("hydra") || name.contains("mpich") => Some(Way::Hydra),
        _ => None,
    }
}

fn way_by_version(path: &Path) -> Way {
    let answer = Command::new(path).arg("--version").stdin(Stdio::null()).output();
    let text = answer.map(|answer| String::from_utf8_lossy(&answer.stdout).into_owned()).unwrap_or_default();
    match text {
        _ if text.contains("Open MPI") || text.contains("OpenRTE") => Way::OpenMpi,
        _ if text.contains("HYDRA") || text.contains("MPICH") => Way::Hydra,
        _ => Way::Inherited,
    }
}

/// What `srun --mpi=KIND` says of the MPI: Open MPI speaks PMIx, MPICH as Debian builds it PMI-2.
fn srun_mpi(words: &[OsString]) -> Option<Kind> {
    let kind = words.iter().find_map(|word| word.to_str()?.strip_prefix("--mpi="))?;
    match kind {
        _ if kind.starts_with("pmix") => Some(Kind::Openmpi),
        "pmi2" => Some(Kind::Mpich),
        _ => None,
    }
}

fn find(program: &OsStr) -> Option<PathBuf> {
    if Path::new(program).components().count() > 1 {
        return Some(PathBuf::from(program));
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    fn arguments(launcher: &Launcher, library: &str) -> Vec<String> {
        let command = launcher.command(&[("PFS_METADATA", "h:1".into())], Some(Path::new(library))).unwrap();
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn each_launcher_is_told_in_its_own_way() {
        let open = Launcher { words: words("mpirun -n 2 ./a"), way: Way::OpenMpi, mpi: None };
        let told = arguments(&open, "/l.so").join(" ");
        assert!(told.starts_with("-x PFS_METADATA ") && told.ends_with("-x LD_PRELOAD=/l.so -n 2 ./a"), "{told}");
        let hydra = Launcher { words: words("mpirun -n 2 ./a"), way: Way::Hydra, mpi: None };
        assert_eq!(arguments(&hydra, "/l.so").join(" "), "-genv LD_PRELOAD /l.so -n 2 ./a");
        let srun = Launcher::new(words("srun --mpi=pmix -n 2 ./a"), None);
        assert_eq!(srun.mpi, Some(Kind::Openmpi));
        assert_eq!(arguments(&srun, "/l.so").join(" "), "--export=ALL,LD_PRELOAD=/l.so --mpi=pmix -n 2 ./a");
        let program = Launcher::new(words("sh -c true"), Some(Kind::Mpich));
        assert_eq!((program.way, program.mpi), (Way::Inherited, Some(Kind::Mpich)));
    }

    #[test]
    fn a_launcher_is_known_by_its_name() {
        assert_eq!(way_by_name("mpirun.openmpi"), Some(Way::OpenMpi));
        assert_eq!(way_by_name("mpiexec.hydra"), Some(Way::Hydra));
        assert_eq!(way_by_name("mpirun"), None);
    }

    #[test]
    fn what_is_loaded_already_stays() {
        assert_eq!(preload_value(Path::new("/l.so"), Some("/b.so".into())), "/l.so:/b.so");
        assert_eq!(preload_value(Path::new("/l.so"), Some("".into())), "/l.so");
    }
}
