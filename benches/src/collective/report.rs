//! Figures of the samples: raw, as a table, and as ratios.

use super::groups::{Comparison, Group};
use super::measure::{Sample, TokenWait, Way};
use pfs_bench_datapath::figures::{Figure, Target};
use pfs_bench_datapath::statistics::Median;
use std::fmt::Write;

/// A ratio with what is wanted of it.
#[derive(Clone, Debug)]
pub struct Ratio {
    /// Bytes a second of the one by those of the other, named by group, direction and comparison.
    pub figure: Figure,
    /// Which of the others it is, the fastest.
    pub to: &'static str,
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
    Ratio { figure: Figure::new(name, &Median::of(&each), Target::AtLeast(target), true), to: fastest }
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
        let Ratio { figure, to } = ratio;
        let (name, target) = (&figure.name, figure.target.to_string());
        writeln!(text, "{name:44}  {to:11}  {target:>6}  {}", figure.judged()).expect("a string");
    }
    text
}

/// The token waits of all contenders, as parts of the time of so many rounds.
pub fn wait_figures(waits: &[TokenWait], rounds: u32) -> Vec<Figure> {
    let figure = |wait: &TokenWait| {
        let TokenWait { group, contender, way, share } = *wait;
        let name = format!("{group}-{}-{}-token-wait", way.name(), contender.replace(' ', "-"));
        let all = Median { value: share, low: share, high: share, count: rounds as usize };
        Figure::new(name, &all, Target::AtMost(TOKEN_WAIT_MAX), false)
    };
    waits.iter().map(figure).collect()
}

/// The same as a table.
pub fn waits_table(waits: &[Figure]) -> String {
    let mut text = String::from("\ntoken wait in accesses                        share    target  verdict\n");
    for wait in waits {
        let target = wait.target.to_string();
        writeln!(text, "{:44}  {:.5}  {target:>6}  {}", wait.name, wait.value, wait.judged()).expect("a string");
    }
    text
}

/// One line for each figure: name, value, spread.
pub fn lines<'a>(figures: impl IntoIterator<Item = &'a Figure>) -> String {
    let line = |figure: &Figure| {
        let digits = if figure.value < 0.1 { 5 } else { 3 };
        format!("{} {:.digits$} {:.3}\n", figure.name, figure.value, figure.spread)
    };
    figures.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::groups::ALL;
    use super::*;
    use pfs_bench_datapath::figures::Verdict;

    /// In each round the first contender of a group moves twice the bytes a second of the next one, and so on.
    fn samples(group: &Group) -> Vec<Sample> {
        let mut all = Vec::new();
        for (at, contender) in group.contenders.iter().enumerate() {
            for (way, round) in Way::ALL.into_iter().flat_map(|way| (0..21).map(move |round| (way, round))) {
                let seconds = f64::from(1u32 << at) * f64::from(round + 1);
                all.push(Sample { group: group.name, contender: contender.name, way, round, seconds, bytes: 1 << 30 });
            }
        }
        all
    }

    #[test]
    fn a_ratio_is_to_the_fastest_of_the_others_and_judged_by_its_target() {
        let group = ALL.iter().find(|group| group.name == "rows-512").unwrap();
        let ratios = ratios(&samples(group), group);
        let found = |name: &str| ratios.iter().find(|ratio| ratio.figure.name == name).unwrap();
        let best = found("rows-512-write-rows-to-the-best");
        assert_eq!((best.to, best.figure.value, best.figure.verdict), ("exchange", 2.0, Verdict::Met));
        let one_by_one = found("rows-512-read-rows-to-one-by-one");
        assert_eq!((one_by_one.figure.value, one_by_one.figure.verdict), (8.0, Verdict::Met));
        let slower = Comparison { name: "x", of: "16 deep", to: &["auto", "list"], target: 0.5 };
        let slower = ratio(&samples(group), group, Way::Write, &slower);
        assert_eq!((slower.to, slower.figure.value, slower.figure.verdict), ("auto", 1.0 / 16.0, Verdict::Missed));
    }

    #[test]
    fn lines_are_name_value_spread() {
        let wait = |share| TokenWait { group: "box", contender: "one by one", way: Way::Read, share };
        let waits = wait_figures(&[wait(0.002), wait(0.02)], 21);
        assert_eq!(waits.iter().map(|wait| wait.verdict).collect::<Vec<_>>(), [Verdict::Met, Verdict::Missed]);
        assert_eq!(lines(&waits[..1]), "box-read-one-by-one-token-wait 0.00200 0.000\n");
        assert!(waits_table(&waits).ends_with("0.02000  <=0.01  missed\n"));
    }
}
