//! What the samples say: figures with a target, each with its spread and whether the target is met.
//!
//! A ratio is made within each round, of two runs that were moments apart, and the figure is the median of these; so what
//! else the machine does falls out as far as it lasts longer than a round.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::measure::Sample;
use crate::statistics::Median;

/// A ratio whose interval is wider than this part of it, to each side, decides nothing.
const SPREAD_MAX: f64 = 0.05;
/// How far past its target an interval may reach.
const SLACK: f64 = 0.03;
/// Of fewer rounds nothing is decided.
const ROUNDS_MIN: usize = 21;

/// What a figure is made of, in each round.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// CPU time of both sides, of the first contender by the second.
    CpuRatio(&'static str, &'static str),
    /// Bytes a second on the wall, of the first contender by the second.
    ThroughputRatio(&'static str, &'static str),
    /// CPU seconds for a GiB.
    CpuPerGib(&'static str),
    /// CPU microseconds for an operation.
    CpuPerOperation(&'static str),
    /// The same, of the first contender less the second.
    CpuPerOperationAbove(&'static str, &'static str),
    /// GiB a second on the wall.
    Throughput(&'static str),
    /// Page faults of the client for a GiB.
    ClientFaults(&'static str),
    /// Page faults of all servers for a GiB.
    ServerFaults(&'static str),
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// As small as possible, and this at most.
    AtMost(f64),
    /// As large as possible, and this at least.
    AtLeast(f64),
    /// Nothing is promised; it is told.
    Told,
}

/// A figure to be made of a case's samples.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The case.
    pub case: &'static str,
    /// How it is called, after the case's name.
    pub suffix: &'static str,
    /// Of what.
    pub measure: Measure,
    /// What is wanted.
    pub target: Target,
}

/// Whether a target is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval is on the right side, or at most a little past it.
    Met,
    /// Not so.
    Missed,
    /// The interval is too wide.
    Unresolved,
    /// It is of too few rounds.
    TooFew,
    /// There is no target.
    Told,
}

/// A figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// How it is called.
    pub name: String,
    /// The median over the rounds.
    pub value: f64,
    /// Ends of the interval of 95 %.
    pub interval: [f64; 2],
    /// Half the interval's width as a part of the median.
    pub spread: f64,
    /// What is wanted.
    pub target: Target,
    /// Whether it is so.
    pub verdict: Verdict,
}

impl Wanted {
    /// The figure, if its case was run.
    pub fn figure(&self, samples: &[Sample]) -> Option<Figure> {
        let of_case: Vec<&Sample> = samples.iter().filter(|sample| sample.case == self.case).collect();
        let values: Vec<f64> = of_case.iter().filter_map(|sample| self.measure.value(sample, &of_case)).collect();
        if values.is_empty() {
            return None;
        }
        let (name, median) = (format!("{}-{}", self.case, self.suffix), Median::of(&values));
        Some(Figure::new(name, &median, self.target, self.measure.is_ratio()))
    }
}

impl Figure {
    /// A figure and whether its target is met; only ratios have to be narrow for that.
    pub fn new(name: String, median: &Median, target: Target, is_ratio: bool) -> Figure {
        let verdict = target.verdict(median, is_ratio);
        let interval = [median.low, median.high];
        Figure { name, value: median.value, interval, spread: median.spread(), target, verdict }
    }

    /// The verdict in words. Of an interval that is too wide it is said if all of it is on the right side.
    pub fn judged(&self) -> String {
        let [low, high] = self.interval;
        let right = match self.target {
            Target::AtMost(most) => high <= most,
            Target::AtLeast(least) => low >= least,
            Target::Told => false,
        };
        if self.verdict == Verdict::Unresolved && right {
            return format!("{}, all on the right side", self.verdict);
        }
        self.verdict.to_string()
    }
}

impl Measure {
    fn is_ratio(self) -> bool {
        matches!(self, Measure::CpuRatio(..) | Measure::ThroughputRatio(..))
    }

    fn subject(self) -> &'static str {
        match self {
            Measure::CpuRatio(of, _) | Measure::ThroughputRatio(of, _) | Measure::CpuPerOperationAbove(of, _) => of,
            Measure::CpuPerGib(of)
            | Measure::CpuPerOperation(of)
            | Measure::Throughput(of)
            | Measure::ClientFaults(of)
            | Measure::ServerFaults(of) => of,
        }
    }

    /// Of the round of `sample`, if the sample is the subject's.
    fn value(self, sample: &Sample, all: &[&Sample]) -> Option<f64> {
        if sample.contender != self.subject() {
            return None;
        }
        let beside = |name| all.iter().find(|other| other.round == sample.round && other.contender == name);
        let per_operation = |sample: &Sample| sample.cpu_s() * 1e6 / sample.operations as f64;
        Some(match self {
            Measure::CpuRatio(_, by) => sample.cpu_s() / beside(by)?.cpu_s(),
            Measure::ThroughputRatio(_, by) => beside(by)?.wall_s / sample.wall_s,
            Measure::CpuPerGib(_) => sample.cpu_s() / sample.gib(),
            Measure::CpuPerOperation(_) => per_operation(sample),
            Measure::CpuPerOperationAbove(_, by) => per_operation(sample) - per_operation(beside(by)?),
            Measure::Throughput(_) => sample.gib() / sample.wall_s,
            Measure::ClientFaults(_) => sample.client_faults as f64 / sample.gib(),
            Measure::ServerFaults(_) => sample.server_faults as f64 / sample.gib(),
        })
    }
}

impl Target {
    fn verdict(self, median: &Median, is_ratio: bool) -> Verdict {
        let (met, missed) = match self {
            Target::AtMost(most) => (median.high <= most * (1.0 + SLACK), median.low > most),
            Target::AtLeast(least) => (median.low >= least * (1.0 - SLACK), median.high < least),
            Target::Told => return Verdict::Told,
        };
        if median.count < ROUNDS_MIN {
            return Verdict::TooFew;
        }
        // An interval that lies on the wrong side altogether is a miss, however wide.
        if median.spread() > SPREAD_MAX && !missed && (is_ratio || !met) {
            return Verdict::Unresolved;
        }
        if met { Verdict::Met } else { Verdict::Missed }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::AtMost(most) => write!(f, "<={most}"),
            Target::AtLeast(least) => write!(f, ">={least}"),
            Target::Told => Ok(()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Met => "met",
            Verdict::Missed => "missed",
            Verdict::Unresolved => "unresolved",
            Verdict::TooFew => "too few rounds",
            Verdict::Told => "",
        })
    }
}

/// `name value spread`, then target and verdict if there is one.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.value.abs() >= 100.0 { 0 } else { 3 };
        let (spread, target, verdict) = (self.spread * 100.0, self.target.to_string(), self.judged());
        let line = format!("{:36} {:8.digits$} ±{spread:.1}% {target} {verdict}", self.name, self.value);
        f.write_str(line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(contender: &'static str, round: u32, cpu_s: f64) -> Sample {
        Sample {
            case: "case",
            round,
            contender,
            operations: 1000,
            bytes: 1 << 29,
            wall_s: cpu_s / 2.0,
            client_cpu_s: cpu_s / 4.0,
            server_cpu_s: cpu_s * 0.75,
            client_faults: 10,
            server_faults: 0,
        }
    }

    fn figure(measure: Measure, target: Target) -> Figure {
        let rounds =
            |round: u32| [sample("raw", round, f64::from(round)), sample("ours", round, f64::from(round) * 1.5)];
        let samples: Vec<Sample> = (1..=21).flat_map(rounds).collect();
        Wanted { case: "case", suffix: "x", measure, target }.figure(&samples).unwrap()
    }

    /// A machine that gets slower all the while changes no ratio, because each is made within a round.
    #[test]
    fn ratios_are_made_within_a_round() {
        let cpu = figure(Measure::CpuRatio("ours", "raw"), Target::AtMost(1.25));
        assert_eq!((cpu.value, cpu.spread, cpu.verdict), (1.5, 0.0, Verdict::Missed));
        let wall = figure(Measure::ThroughputRatio("ours", "raw"), Target::AtLeast(0.66));
        assert!((wall.value - 1.0 / 1.5).abs() < 1e-9);
        assert_eq!(wall.verdict, Verdict::Met);
        assert_eq!(figure(Measure::ClientFaults("ours"), Target::AtMost(1000.0)).value, 20.0);
        let above = figure(Measure::CpuPerOperationAbove("ours", "raw"), Target::Told);
        assert!((above.value - 11.0 * 500.0).abs() < 1e-6, "{above:?}");
    }

    #[test]
    fn wide_intervals_decide_nothing_unless_all_of_it_is_wrong() {
        let median = |value, low, high| Median { value, low, high, count: 21 };
        let most = Target::AtMost(1.25);
        assert_eq!(most.verdict(&median(1.2, 1.1, 1.3), true), Verdict::Unresolved);
        assert_eq!(most.verdict(&median(1.2, 1.1, 1.27), false), Verdict::Met);
        assert_eq!(most.verdict(&median(1.2, 1.1, 1.4), false), Verdict::Unresolved);
        assert_eq!(most.verdict(&median(2.0, 1.5, 2.5), true), Verdict::Missed);
        assert_eq!(most.verdict(&median(1.26, 1.25, 1.28), true), Verdict::Met);
        assert_eq!(Target::AtLeast(0.8).verdict(&median(0.79, 0.78, 0.8), true), Verdict::Met);
        assert_eq!(Target::AtLeast(0.8).verdict(&median(0.78, 0.77, 0.8), true), Verdict::Missed);
        let few = Median { count: 20, ..median(1.2, 1.2, 1.2) };
        assert_eq!([true, false].map(|is_ratio| most.verdict(&few, is_ratio)), [Verdict::TooFew; 2]);
        assert_eq!(Target::Told.verdict(&few, true), Verdict::Told);
    }

    #[test]
    fn a_wide_interval_that_is_past_its_target_says_so() {
        let judged = |target, low, high| {
            Figure::new("x".to_owned(), &Median { value: 12.0, low, high, count: 21 }, target, true).judged()
        };
        assert_eq!(judged(Target::AtLeast(5.0), 9.0, 15.0), "unresolved, all on the right side");
        assert_eq!(judged(Target::AtLeast(10.0), 9.0, 15.0), "unresolved");
        assert_eq!(judged(Target::AtMost(5.0), 9.0, 15.0), "missed");
        assert_eq!(judged(Target::Told, 9.0, 15.0), "");
    }

    #[test]
    fn a_line_is_name_value_spread() {
        let line = figure(Measure::CpuRatio("ours", "raw"), Target::AtMost(1.25)).to_string();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, ["case-x", "1.500", "±0.0%", "<=1.25", "missed"]);
    }
}
