//! Command lines in IOR's manner: one table of settings serves options (`-b 16m`, `-b16m`, `-vvv`, `--mpiio.useFileView`),
//! directives (`-O blockSize=16m,verbose=1`) and scripts.
//!
//! Invariants: settings are applied in the order in which they are given, so the last one counts; what is unknown is an error;
//! names are compared without regard to case.

use std::ffi::OsString;
use std::fmt::Write as _;

/// What a setting does to the parameters.
pub enum Takes<P> {
    /// Counts how often it is given; `=N` says the number.
    Count(fn(&mut P) -> &mut u32),
    /// Takes a value; the word is for the help.
    Value(&'static str, fn(&mut P, &str) -> Result<(), String>),
}

/// A setting that an option or a directive names.
pub struct Setting<P> {
    /// The option's letter.
    pub letter: Option<char>,
    /// The long option's and the directive's name.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// What it changes.
    pub takes: Takes<P>,
}

/// What a command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To run.
    Run,
    /// For the list of options.
    Help,
    /// For the version.
    Version,
}

impl<P> Setting<P> {
    /// A setting that counts.
    pub const fn count(
        letter: Option<char>,
        name: &'static str,
        help: &'static str,
        of: fn(&mut P) -> &mut u32,
    ) -> Self {
        Setting { letter, name, help, takes: Takes::Count(of) }
    }

    /// A setting with a value.
    pub const fn value(
        letter: Option<char>,
        name: &'static str,
        word: &'static str,
        help: &'static str,
        set: fn(&mut P, &str) -> Result<(), String>,
    ) -> Self {
        Setting { letter, name, help, takes: Takes::Value(word, set) }
    }

    fn apply(&self, parameters: &mut P, value: &str) -> Result<(), String> {
        match self.takes {
            Takes::Count(of) => {
                *of(parameters) = number(value).map_err(|error| format!("{}: {error}", self.shown()))?;
                Ok(())
            }
            Takes::Value(_, set) => set(parameters, value).map_err(|error| format!("{}: {error}", self.shown())),
        }
    }

    /// How messages name it.
    fn shown(&self) -> String {
        match self.letter {
            Some(letter) => format!("-{letter} ({})", self.name),
            None => format!("--{}", self.name),
        }
    }
}

/// Applies a directive.
pub fn set<P>(table: &[Setting<P>], parameters: &mut P, name: &str, value: &str) -> Result<(), String> {
    let setting = table.iter().find(|setting| setting.name.eq_ignore_ascii_case(name));
    setting.ok_or_else(|| format!("Unrecognized parameter \"{name}\""))?.apply(parameters, value)
}

/// Applies options in their order.
pub fn arguments<P>(
    table: &[Setting<P>],
    parameters: &mut P,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Asked, String> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut counted: Option<&Setting<P>> = None;
    loop {
        let argument = match (parser.next(), counted) {
            (Ok(Some(argument)), _) => argument,
            (Ok(None), _) => return Ok(Asked::Run),
            // The value behind `=` of a setting that counts, which takes one only there: `-vv` is twice -v.
            (Err(lexopt::Error::UnexpectedValue { value, .. }), Some(setting)) => {
                setting.apply(parameters, &text(value)?)?;
                counted = None;
                continue;
            }
            (Err(error), _) => return Err(error.to_string()),
        };
        counted = None;
        let (shown, found) = match argument {
            lexopt::Arg::Short('h') if !table.iter().any(|s| s.letter == Some('h')) => return Ok(Asked::Help),
            lexopt::Arg::Long("help") => return Ok(Asked::Help),
            lexopt::Arg::Long("version") => return Ok(Asked::Version),
            lexopt::Arg::Short(letter) => {
                (format!("-{letter}"), table.iter().find(|setting| setting.letter == Some(letter)))
            }
            lexopt::Arg::Long(name) => {
                (format!("--{name}"), table.iter().find(|setting| setting.name.eq_ignore_ascii_case(name)))
            }
            lexopt::Arg::Value(value) => {
                return Err(format!("{value:?} belongs to no option; -h lists them"));
            }
        };
        let setting = found.ok_or_else(|| format!("invalid option {shown}; -h lists them"))?;
        match setting.takes {
            Takes::Count(of) => {
                *of(parameters) += 1;
                counted = Some(setting);
            }
            Takes::Value(..) => {
                let value = parser.value().map_err(|_| format!("argument missing for option {}", setting.shown()))?;
                setting.apply(parameters, &text(value)?)?;
            }
        }
    }
}

fn text(value: OsString) -> Result<String, String> {
    value.into_string().map_err(|value| format!("{value:?} is not text"))
}

/// The list of options.
pub fn help<P>(table: &[Setting<P>]) -> String {
    let mut text = String::new();
    for setting in table {
        let letter = setting.letter.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
        let value = match setting.takes {
            Takes::Count(_) => String::new(),
            Takes::Value(word, _) => format!("={word}"),
        };
        let name = format!("{letter}--{}{value}", setting.name);
        writeln!(text, "  {name:<44} {}", setting.help).expect("to a string");
    }
    text
}

/// A number, with IOR's suffixes.
pub fn number<T: TryFrom<i64>>(text: &str) -> Result<T, String> {
    let (negative, digits) = match text.trim().strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.trim()),
    };
    let value = i64::try_from(size(digits)?).map_err(|_| format!("{text:?} is too large"))?;
    T::try_from(if negative { -value } else { value }).map_err(|_| format!("{text:?} is out of range"))
}

/// A number of bytes with IOR's suffixes k, m, g, t and p, powers of 1024.
pub fn size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, shift) = match lower.strip_suffix(['k', 'm', 'g', 't', 'p']) {
        Some(digits) => {
            let power = "kmgtp".find(&lower[digits.len()..]).unwrap_or(0);
            (digits.trim_end(), 10 * (power + 1))
        }
        None => (lower.as_str(), 0),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a number like 8, 4k, 2m or 1g"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text:?} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Sample {
        bytes: u64,
        seed: i64,
        verbose: u32,
        random: u32,
    }

    fn table() -> [Setting<Sample>; 4] {
        [
            Setting::value(Some('b'), "blockSize", "N", "bytes", |p: &mut Sample, text| {
                p.bytes = size(text)?;
                Ok(())
            }),
            Setting::value(Some('X'), "seed", "N", "seed", |p: &mut Sample, text| {
                p.seed = number(text)?;
                Ok(())
            }),
            Setting::count(Some('v'), "verbose", "more", |p| &mut p.verbose),
            Setting::count(Some('z'), "randomOffset", "random", |p| &mut p.random),
        ]
    }

    fn parse(line: &str) -> Result<(Sample, Asked), String> {
        let mut sample = Sample::default();
        let words = line.split_whitespace().map(OsString::from);
        let asked = arguments(&table(), &mut sample, words)?;
        Ok((sample, asked))
    }

    #[test]
    fn options_may_be_written_as_ior_takes_them() {
        for line in ["-b 4k -vv -z -z", "-b4k -v -v -z=2", "-b=4K -vvzz", "--blocksize 4k --verbose=2 --randomoffset=2"]
        {
            let (sample, asked) = parse(line).unwrap();
            assert_eq!((sample.bytes, sample.verbose, sample.random, asked), (4096, 2, 2, Asked::Run), "{line}");
        }
        assert_eq!(parse("-X -7").unwrap().0.seed, -7);
        assert_eq!(parse("-b 1k -b 2k").unwrap().0.bytes, 2048, "the last one counts");
    }

    #[test]
    fn what_is_wrong_is_told_by_name() {
        for (line, why) in [
            ("-q", "invalid option -q"),
            ("--nothing", "invalid option --nothing"),
            ("stray", "belongs to no option"),
            ("-b", "argument missing for option -b (blockSize)"),
            ("-b 4x", "-b (blockSize): \"4x\" is not a number"),
            ("-b 99999999p", "too large"),
            ("-v=-1", "out of range"),
        ] {
            let error = parse(line).err().unwrap();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn directives_have_the_same_names() {
        let mut sample = Sample::default();
        set(&table(), &mut sample, "BLOCKSIZE", "1m").unwrap();
        set(&table(), &mut sample, "verbose", "3").unwrap();
        assert_eq!((sample.bytes, sample.verbose), (1 << 20, 3));
        assert!(set(&table(), &mut sample, "what", "1").unwrap_err().contains("Unrecognized parameter \"what\""));
    }

    #[test]
    fn help_lists_every_setting() {
        let text = help(&table());
        assert_eq!(text.lines().count(), 4);
        assert!(text.contains("-b, --blockSize=N"));
    }
}
