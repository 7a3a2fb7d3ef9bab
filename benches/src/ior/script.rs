//! Scripts of tests (`-f`): `IOR START`, directives in lines, `RUN` after each test, `IOR STOP`.
//!
//! Invariants: a test begins with the parameters of the one before it, the first with those of the command line; nothing
//! outside of `IOR START` and `IOR STOP` counts; directives after the last `RUN` are a test of their own.

use crate::ior::options::directives;
use crate::ior::params::{Line, Params};

/// The tests of a script, numbered from 0. What concerns all tests stays in `line`.
pub fn tests(line: &mut Line, text: &str) -> Result<Vec<Params>, String> {
    let mut tests = Vec::new();
    let mut pending = false;
    let mut lines = text.lines().enumerate().skip_while(|(_, text)| !is(text, "ior start")).peekable();
    if lines.next().is_none() {
        return Err("the script has no line IOR START".to_owned());
    }
    for (number, text) in lines {
        let text = text.trim();
        match text {
            "" => {}
            _ if text.starts_with('#') => {}
            _ if is(text, "ior stop") => break,
            _ if is(text, "run") => {
                tests.push(numbered(line, tests.len()));
                pending = false;
            }
            _ => {
                directives(line, text).map_err(|error| format!("line {} of the script: {error}", number + 1))?;
                pending = true;
            }
        }
    }
    if pending || tests.is_empty() {
        tests.push(numbered(line, tests.len()));
    }
    Ok(tests)
}

fn numbered(line: &Line, number: usize) -> Params {
    Params { id: u32::try_from(number).unwrap_or(u32::MAX), ..line.params.clone() }
}

fn is(text: &str, words: &str) -> bool {
    text.trim().eq_ignore_ascii_case(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_as_in_iors_documentation() {
        let script = "\
ignored=1
IOR START
# a comment
    api=POSIX
    testFile=one, segmentCount=2
    blockSize=2m # with a comment
RUN
    collective=1

RUN
run
    api=MPIIO
ior stop
    blockSize=broken
";
        let mut line = Line::default();
        line.params.transfer_bytes = 4096;
        let tests = tests(&mut line, script).unwrap();
        let shown: Vec<_> = tests
            .iter()
            .map(|test| (test.id, test.api.name(), &*test.file, test.segments, test.block_bytes, test.collective))
            .collect();
        let expected = [
            (0, "POSIX", "one", 2, 2 << 20, 0),
            (1, "POSIX", "one", 2, 2 << 20, 1),
            (2, "POSIX", "one", 2, 2 << 20, 1),
            (3, "MPIIO", "one", 2, 2 << 20, 1),
        ];
        assert_eq!(shown, expected);
        assert!(tests.iter().all(|test| test.transfer_bytes == 4096), "the command line comes first");
    }

    #[test]
    fn mistakes_name_their_line() {
        let error = tests(&mut Line::default(), "IOR START\n\nwhat=1\nRUN\n").unwrap_err();
        assert!(error.starts_with("line 3") && error.contains("Unrecognized"), "{error}");
        assert!(tests(&mut Line::default(), "api=POSIX\n").is_err());
    }
}
