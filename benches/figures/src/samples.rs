//! The samples of the suite: one row is one phase of one run of one contender.

use anyhow::{Context, Result, ensure};
use pfs_bench_datapath::statistics::Median;
use std::collections::BTreeSet;

/// The columns of `samples.csv`.
pub const HEADER: &str = "workload,setting,way,contender,round,rate,open_s,access_s,close_s";

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What was done.
    pub workload: String,
    /// The number that is varied: bytes of a transfer, ranks or servers; 0 for none.
    pub setting: u64,
    /// Which way: write, read, or an operation on names.
    pub way: String,
    /// Who did it.
    pub contender: String,
    /// The round, from 1.
    pub round: u32,
    /// MiB a second, or operations a second.
    pub rate: f64,
    /// Seconds of the open.
    pub open_s: f64,
    /// Seconds of the transfers.
    pub access_s: f64,
    /// Seconds of the close.
    pub close_s: f64,
}

/// All samples of a run.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Sample>);

/// Samples of the same thing, which contenders are compared in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// What was done.
    pub workload: String,
    /// The number that is varied.
    pub setting: u64,
    /// Which way.
    pub way: String,
}

impl Case {
    fn has(&self, sample: &Sample) -> bool {
        (&self.workload, self.setting, &self.way) == (&sample.workload, sample.setting, &sample.way)
    }
}

impl Samples {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Samples> {
        let mut lines = text.lines();
        ensure!(lines.next() == Some(HEADER), "the first line must be {HEADER}");
        let samples = lines.filter(|line| !line.is_empty()).map(|line| sample(line).with_context(|| line.to_owned()));
        Ok(Samples(samples.collect::<Result<_>>()?))
    }

    /// The cases in the order in which they were measured.
    pub fn cases(&self) -> Vec<Case> {
        let mut seen = BTreeSet::new();
        let case = |sample: &Sample| Case {
            workload: sample.workload.clone(),
            setting: sample.setting,
            way: sample.way.clone(),
        };
        self.0.iter().map(case).filter(|case| seen.insert(case.clone())).collect()
    }

    /// The contenders of a case in the order in which they came.
    pub fn contenders(&self, case: &Case) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let of_case = self.0.iter().filter(|sample| case.has(sample)).map(|sample| sample.contender.clone());
        of_case.filter(|name| seen.insert(name.clone())).collect()
    }

    /// A contender's samples of a case, by round.
    pub fn of(&self, case: &Case, contender: &str) -> Vec<&Sample> {
        let is_wanted = |sample: &&Sample| case.has(sample) && sample.contender == contender;
        let mut all: Vec<&Sample> = self.0.iter().filter(is_wanted).collect();
        all.sort_by_key(|sample| sample.round);
        all
    }

    /// The median rate.
    pub fn rate(&self, case: &Case, contender: &str) -> Option<Median> {
        let rates: Vec<f64> = self.of(case, contender).iter().map(|sample| sample.rate).collect();
        (!rates.is_empty()).then(|| Median::of(&rates))
    }

    /// The median of the ratios that one contender has to another in each round; of two cases if they differ.
    pub fn ratio(&self, of: (&Case, &str), to: (&Case, &str)) -> Option<Median> {
        let others = self.of(to.0, to.1);
        let ratios: Vec<f64> = self
            .of(of.0, of.1)
            .iter()
            .filter_map(|own| {
                let other = others.iter().find(|other| other.round == own.round)?;
                (other.rate > 0.0).then(|| own.rate / other.rate)
            })
            .collect();
        (!ratios.is_empty()).then(|| Median::of(&ratios))
    }
}

fn sample(line: &str) -> Result<Sample> {
    let fields: Vec<&str> = line.split(',').collect();
    let [workload, setting, way, contender, round, rate, open_s, access_s, close_s] = fields[..] else {
        anyhow::bail!("{} fields", fields.len());
    };
    Ok(Sample {
        workload: workload.to_owned(),
        setting: setting.parse()?,
        way: way.to_owned(),
        contender: contender.to_owned(),
        round: round.parse()?,
        rate: rate.parse()?,
        open_s: open_s.parse()?,
        access_s: access_s.parse()?,
        close_s: close_s.parse()?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two contenders, three rounds; ours is twice as fast, and once three times.
    pub(crate) fn text() -> String {
        let mut text = format!("{HEADER}\n");
        for setting in [4096, 1_048_576] {
            for (round, ours) in [(1, 200.0), (2, 300.0), (3, 200.0)] {
                for (name, rate) in [("pfs", ours), ("other", 100.0)] {
                    for way in ["write", "read"] {
                        text += &format!("transfer,{setting},{way},{name},{round},{rate},0.1,0.8,0.1\n");
                    }
                }
            }
        }
        text
    }

    #[test]
    fn ratios_are_made_within_a_round() {
        let samples = Samples::parse(&text()).unwrap();
        let cases = samples.cases();
        assert_eq!(cases.len(), 4);
        assert_eq!(samples.contenders(&cases[0]), ["pfs", "other"]);
        let ratio = samples.ratio((&cases[0], "pfs"), (&cases[0], "other")).unwrap();
        assert_eq!((ratio.value, ratio.low, ratio.high), (2.0, 2.0, 3.0));
        assert!(samples.ratio((&cases[0], "pfs"), (&cases[0], "nobody")).is_none());
    }

    #[test]
    fn a_broken_line_is_told() {
        let error = Samples::parse(&format!("{HEADER}\na,b,c\n")).unwrap_err();
        assert!(format!("{error:#}").contains("a,b,c"), "{error:#}");
        assert!(Samples::parse("x\n").is_err());
    }
}
