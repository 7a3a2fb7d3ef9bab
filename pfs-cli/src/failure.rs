//! How a command fails: one line on standard error that says what was tried, what was in the way, and what to do.

use std::error::Error;
use std::fmt::Display;
use std::process::ExitCode;

/// What a shell reports for a process that Ctrl-C ended.
pub const INTERRUPTED_STATUS: u8 = 130;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The command line asks for something impossible: exit status 2.
    Usage(String),
    /// It was tried and did not work: exit status 1.
    Failed {
        /// "cannot … : …".
        problem: String,
        /// What the user can do about it.
        next_step: Option<String>,
    },
    /// The user ended it, with Ctrl-C: exit status 130. Nothing else is begun after it.
    Interrupted {
        /// "cannot … : interrupted".
        problem: String,
        /// What was left, and what the user can do about it.
        next_step: Option<String>,
    },
    /// Every problem was reported when it came up: exit status 1 without another word.
    Reported,
    /// The same with an exit status of its own, such as that of a program that was run.
    Exit(u8),
}

/// What a command returns.
pub type Outcome = Result<(), Failure>;

impl Failure {
    /// A command line that cannot be carried out.
    pub fn usage(problem: impl Display) -> Self {
        Failure::Usage(one_line(&problem.to_string()))
    }

    /// `tried` reads on after "cannot", like "remove pfs:/a".
    pub fn cannot(tried: impl Display, cause: &(dyn Error + 'static)) -> Self {
        Failure::because(tried, with_sources(cause))
    }

    /// Like [`Failure::cannot`], with the cause as text.
    pub fn because(tried: impl Display, cause: impl Display) -> Self {
        let problem = one_line(&format!("cannot {tried}: {cause}"));
        Failure::Failed { problem, next_step: None }
    }

    /// This failure as the user's own wish to end.
    pub fn interrupted(self) -> Self {
        match self {
            Failure::Failed { problem, next_step } => Failure::Interrupted { problem, next_step },
            other => other,
        }
    }

    /// Adds what the user can do.
    pub fn next(mut self, step: impl Display) -> Self {
        if let Failure::Failed { next_step, .. } | Failure::Interrupted { next_step, .. } = &mut self {
            *next_step = Some(one_line(&step.to_string()));
        }
        self
    }

    /// Prints the failure and turns it into the exit status.
    pub fn report(&self) -> ExitCode {
        match self {
            Failure::Usage(problem) => {
                eprintln!("pfs: {problem}; see `pfs --help`");
                ExitCode::from(2)
            }
            Failure::Failed { problem, next_step } => {
                print_problem(problem, next_step.as_deref());
                ExitCode::FAILURE
            }
            Failure::Interrupted { problem, next_step } => {
                print_problem(problem, next_step.as_deref());
                ExitCode::from(INTERRUPTED_STATUS)
            }
            Failure::Reported => ExitCode::FAILURE,
            Failure::Exit(status) => ExitCode::from(*status),
        }
    }
}

fn print_problem(problem: &str, next_step: Option<&str>) {
    match next_step {
        None => eprintln!("pfs: {problem}"),
        Some(step) => eprintln!("pfs: {problem}; {step}"),
    }
}

/// Runs `each` for all items, reports every failure when it comes up, and fails at the end if there was one.
pub fn for_each<T>(items: impl IntoIterator<Item = T>, mut each: impl FnMut(T) -> Outcome) -> Outcome {
    let mut outcome = Ok(());
    for item in items {
        match each(item) {
            Ok(()) => {}
            Err(interrupted @ Failure::Interrupted { .. }) => return Err(interrupted),
            Err(failure) => {
                failure.report();
                outcome = Err(Failure::Reported);
            }
        }
    }
    outcome
}

/// The error with the causes that its own text does not mention yet.
fn with_sources(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn one_line(text: &str) -> String {
    text.trim().split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);

    impl Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the disk\nis unhappy")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_failure_is_one_line_with_every_cause() {
        let failure = Failure::cannot("read x", &Outer(std::io::Error::other("no power"))).next("plug it in");
        let Failure::Failed { problem, next_step } = failure else { panic!("not a failure: {failure:?}") };
        assert_eq!(problem, "cannot read x: the disk is unhappy: no power");
        assert_eq!(next_step.as_deref(), Some("plug it in"));
    }

    #[test]
    fn all_items_are_tried() {
        let mut tried = Vec::new();
        let outcome = for_each([1, 2, 3], |item| {
            tried.push(item);
            if item == 2 { Err(Failure::because("count", "two")) } else { Ok(()) }
        });
        assert!(matches!(outcome, Err(Failure::Reported)));
        assert_eq!(tried, [1, 2, 3]);
    }
}
