//! Figures of the samples: raw, as a table, and as ratios.

use super::groups::{Comparison, Group};
use super::measure::{Sample, TokenWait, Way};
use pfs_bench_datapath::statistics::Median;
use std::fmt::Write;

/// A ratio with what is wanted.
#[derive(Clone, Debug)]
pub struct Ratio {
    /// Group, direction and comparison.
    pub name: String,
    /// Bytes a second of the one by those of the other.
    pub median: Median,
    /// Which of the others it is, the fastest.
    pub to: &'static str,
    /// The least that is wanted.
    pub target: f64,
}

/// What token waits may take of the time of collective accesses.
const TOKEN_WAIT_MAX: f64 = 0.01;

/// All samples as rows.
pub fn csv(samples: &[Sample]) -> String {
    let mut text = String::from("group,way,contender,round,seconds,bytes\n");
    for Sample { group, contender, way, round, seconds, bytes } in samples {
        writeln!(text, "{group},{},{contender},{round},{seconds:.6},{bytes}", way.name()).expect("a string");
    }
    text
}

/// Bytes a second of each round, in order.
fn rates(samples: &[Sample], group: &str, contender: &str, way: Way) -> Vec<f64> {
    let of = samples.iter().filter(|s| s.group == group && s.contender == contender && s.way == way);
    let mut by_round: Vec<(u32, f64)> = of.map(|sample| (sample.round, sample.bytes as f64 / sample.seconds)).collect();
    by_round.sort_by_key(|(round, _)| *round);
    by_round.into_iter().map(|(_, rate)| rate).collect()
}

/// The ratios of a group.
pub fn ratios(samples: &[Sample], group: &Group) -> Vec<Ratio> {
    let both = Way::ALL.iter().flat_map(|way| group.comparisons.iter().map(move |comparison| (*way, comparison)));
    both.map(|(way, comparison)| ratio(samples, group, way, comparison)).collect()
}

fn ratio(samples: &[Sample], group: &Group, way: Way, comparison: &Comparison) -> Ratio {
    let Comparison { name, of, to, target } = *comparison;
    let median = |contender: &str| Median::of(&rates(samples, group.name, contender, way)).value;
    let fastest = to.iter().copied().max_by(|a, b| median(a).total_cmp(&median(b))).expect("compared with something");
    let (ours, others) = (rates(samples, group.name, of, way), rates(samples, group.name, fastest, way));
    let each: Vec<f64> = ours.iter().zip(&others).map(|(ours, other)| ours / other).collect();
    let name = format!("{}-{}-{}", group.name, way.name(), name.replace(' ', "-"));
    Ratio { name, median: Median::of(&each), to: fastest, target }
}

impl Ratio {
    /// What the interval says: met if it reaches at most 3 % under the target, unresolved if it is too wide to tell.
    pub fn verdict(&self) -> &'static str {
        let Median { low, high, .. } = self.median;
        match () {
            () if low >= 0.97 * self.target => "met",
            () if high < self.target => "missed",
            () if self.median.spread() > 0.05 => "unresolved",
            () => "missed",
        }
    }
}

/// Median rates of all contenders, and what each ratio was compared with.
pub fn table(samples: &[Sample], groups: &[Group], ratios: &[Ratio]) -> String {
    let mut text = String::from("group         contender    way    MiB/s    ±\n");
    for (group, way) in groups.iter().flat_map(|group| Way::ALL.map(|way| (group, way))) {
        for contender in group.contenders {
            let median = Median::of(&rates(samples, group.name, contender.name, way));
            let (rate, spread) = (median.value / f64::from(1 << 20), 100.0 * median.spread());
            let names = format!("{:12}  {:11}  {:5}", group.name, contender.name, way.name());
            writeln!(text, "{names}  {rate:6.0}  {spread:2.0}%").expect("a string");
        }
    }
    text.push_str("\nratio                                         to           target  verdict\n");
    for ratio in ratios {
        let Ratio { name, to, target, .. } = ratio;
        writeln!(text, "{name:44}  {to:11}  {target:6.2}  {}", ratio.verdict()).expect("a string");
    }
    text
}

/// The token waits of all contenders.
pub fn waits_table(waits: &[TokenWait]) -> String {
    let mut text = String::from("\ntoken wait in accesses                        share    target  verdict\n");
    for TokenWait { group, contender, way, share } in waits {
        let name = format!("{group} {contender} {}", way.name());
        let verdict = if *share < TOKEN_WAIT_MAX { "met" } else { "missed" };
        writeln!(text, "{name:44}  {share:.5}  {TOKEN_WAIT_MAX:6.2}  {verdict}").expect("a string");
    }
    text
}

/// One line for each share: name, share, no spread.
pub fn waits_lines(waits: &[TokenWait]) -> String {
    let line = |wait: &TokenWait| {
        let TokenWait { group, contender, way, share } = wait;
        format!("{group}-{}-{}-token-wait {share:.5} 0.000\n", way.name(), contender.replace(' ', "-"))
    };
    waits.iter().map(line).collect()
}

/// One line for each ratio: name, ratio, spread.
pub fn lines(ratios: &[Ratio]) -> String {
    let line = |ratio: &Ratio| format!("{} {:.3} {:.3}\n", ratio.name, ratio.median.value, ratio.median.spread());
    ratios.iter().map(line).collect()
}
