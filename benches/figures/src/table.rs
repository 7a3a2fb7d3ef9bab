//! The table of ratios. Where a comparison wins, it says so and by how much.

use crate::samples::{Case, Samples};
use pfs_bench_datapath::figures::{Figure, Target};
use pfs_bench_datapath::statistics::Median;
use std::fmt::Write as _;

/// The contender that is compared with all others.
pub const OURS: &str = "pfs";

/// A ratio of a workload's contender to another's, with what is wanted of it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// How it is called.
    pub name: &'static str,
    /// Workload and contender.
    pub of: (&'static str, &'static str),
    /// Those that it is compared with.
    pub to: (&'static str, &'static str),
    /// What is wanted.
    pub target: Target,
    /// Ways that count.
    pub ways: &'static [&'static str],
}

/// A rate with what is wanted of it.
#[derive(Clone, Copy, Debug)]
pub struct WantedRate {
    /// How it is called.
    pub name: &'static str,
    /// Workload and contender.
    pub of: (&'static str, &'static str),
    /// Which way.
    pub way: &'static str,
    /// What is wanted.
    pub target: Target,
}

const BOTH: &[&str] = &["write", "read"];
const WRITE: &[&str] = &["write"];

/// This file system on a disk, and the bound of its creates: the syncs of the disk, each for a name of every rank.
const DISK: &str = "pfs disk";
const DISK_BOUND: &str = "disk syncs × ranks";

const fn ratio(
    name: &'static str,
    of: (&'static str, &'static str),
    to: (&'static str, &'static str),
    target: Target,
    ways: &'static [&'static str],
) -> Wanted {
    Wanted { name, of, to, target, ways }
}

/// What is wanted of workloads beside each other.
pub const WANTED: [Wanted; 8] = [
    ratio(
        "large transfers, fresh files, by raw TCP",
        ("large", OURS),
        ("large", "raw TCP"),
        Target::AtLeast(0.8),
        BOTH,
    ),
    ratio(
        "large transfers, overwriting, by raw TCP",
        ("large-overwrite", OURS),
        ("large-overwrite", "raw TCP"),
        Target::AtLeast(0.8),
        WRITE,
    ),
    ratio(
        "hard, collective, 16 MiB a call, by easy",
        ("hard-collective", OURS),
        ("easy", OURS),
        Target::AtLeast(0.6),
        BOTH,
    ),
    ratio(
        "hard, collective, one piece a call, by two reductions and raw TCP",
        ("hard-single", OURS),
        ("hard-single", "raw TCP with reductions"),
        Target::AtLeast(0.8),
        BOTH,
    ),
    ratio(
        "hard, independent with cache, by easy",
        ("hard-independent", OURS),
        ("easy", OURS),
        Target::AtLeast(0.5),
        BOTH,
    ),
    ratio(
        "4 KiB random writes, within the cache, by no cache",
        ("random", OURS),
        ("random", "pfs no cache"),
        Target::AtLeast(5.0),
        WRITE,
    ),
    ratio(
        "4 KiB random writes, 4 × the cache, by no cache",
        ("random-4x", OURS),
        ("random-4x", "pfs no cache"),
        Target::Told,
        WRITE,
    ),
    ratio(
        "durable creates on a disk, by its syncs × ranks",
        ("names", DISK),
        ("names", DISK_BOUND),
        Target::Told,
        &["create"],
    ),
];

const fn rate(name: &'static str, of: &'static str, way: &'static str, target: Target) -> WantedRate {
    WantedRate { name, of: ("names", of), way, target }
}

/// What is wanted of names, in operations a second.
pub const WANTED_RATES: [WantedRate; 5] = [
    rate("creates a second", OURS, "create", Target::AtLeast(10_000.0)),
    rate("opens with a size query a second", OURS, "stat", Target::AtLeast(20_000.0)),
    rate("deletes a second", OURS, "remove", Target::AtLeast(10_000.0)),
    rate("durable creates a second, on a disk", DISK, "create", Target::Told),
    rate("syncs a second of the disk × ranks", DISK_BOUND, "create", Target::Told),
];

/// Everything as Markdown.
pub fn markdown(samples: &Samples) -> String {
    let mut text = String::new();
    text.push_str("## Targets\n\n");
    text.push_str("Of ratios made within each round; from 21 pairs on there is a verdict.\n\n");
    text.push_str(
        "| figure | way | pairs | median | 95 % | target | | who wins |\n|---|---|---|---|---|---|---|---|\n",
    );
    for wanted in WANTED {
        for way in wanted.ways {
            ratio_row(&mut text, samples, &wanted, way);
        }
    }
    for wanted in WANTED_RATES {
        let (case, who) = (case(wanted.of.0, wanted.way), wanted.of.1);
        if let Some(rate) = samples.rate(&case, who) {
            let figure = Figure::new(wanted.name.to_owned(), &rate, wanted.target, false);
            target_row(&mut text, &figure, wanted.way, samples.of(&case, who).len(), "");
        }
    }
    text.push_str("\n## Where a comparison wins\n\n");
    text.push_str(&lost(samples));
    text.push_str("\n## Contenders\n\n");
    text.push_str("Ratios are of `pfs` to the contender, made within each round; below 1 the contender wins.\n\n");
    text.push_str(
        "| workload | way | contender | rate | ± | pfs by it | 95 % | who wins |\n|---|---|---|---|---|---|---|---|\n",
    );
    for case in samples.cases() {
        for contender in samples.contenders(&case) {
            contender_row(&mut text, samples, &case, &contender);
        }
    }
    text
}

fn ratio_row(text: &mut String, samples: &Samples, wanted: &Wanted, way: &str) {
    let (of, to) = (case(wanted.of.0, way), case(wanted.to.0, way));
    let Some(ratio) = samples.ratio((&of, wanted.of.1), (&to, wanted.to.1)) else { return };
    let figure = Figure::new(wanted.name.to_owned(), &ratio, wanted.target, true);
    // Workloads are compared with each other, too, and with a bound; then nobody wins.
    let wins = match wanted.of.0 == wanted.to.0 && wanted.to.1 != DISK_BOUND {
        true => winner(&ratio, wanted.of.1, wanted.to.1),
        false => String::new(),
    };
    let pairs = samples.of(&of, wanted.of.1).len().min(samples.of(&to, wanted.to.1).len());
    target_row(text, &figure, way, pairs, &wins);
}

fn case(workload: &str, way: &str) -> Case {
    Case { workload: workload.to_owned(), setting: 0, way: way.to_owned() }
}

fn target_row(text: &mut String, figure: &Figure, way: &str, pairs: usize, wins: &str) {
    let (value, [low, high]) = (short(figure.value), figure.interval.map(short));
    let (name, target, judged) = (&figure.name, wanted(figure.target), verdict(figure));
    writeln!(text, "| {name} | {way} | {pairs} | {value} | {low} – {high} | {target} | {judged} | {wins} |")
        .expect("to a string");
}

/// A target for people.
pub fn wanted(target: Target) -> String {
    match target {
        Target::AtLeast(least) => format!("≥ {}", short(least)),
        Target::AtMost(most) => format!("≤ {}", short(most)),
        Target::Told => "–".to_owned(),
    }
}

/// Whether a target is met, for people.
pub fn verdict(figure: &Figure) -> String {
    if figure.target == Target::Told { "told".to_owned() } else { figure.judged() }
}

/// Whether it does the same work another way.
fn is_compared(contender: &str) -> bool {
    ![OURS, DISK_BOUND].contains(&contender)
}

/// The cases in which somebody else is faster for sure, the largest differences first.
fn lost(samples: &Samples) -> String {
    let mut all = Vec::new();
    for case in samples.cases() {
        for contender in samples.contenders(&case).into_iter().filter(|contender| is_compared(contender)) {
            if let Some(ratio) = samples.ratio((&case, OURS), (&case, &contender)).filter(|ratio| ratio.high < 1.0) {
                all.push((ratio, case.clone(), contender));
            }
        }
    }
    if all.is_empty() {
        return "Nowhere for sure.\n".to_owned();
    }
    all.sort_by(|(one, ..), (other, ..)| one.value.total_cmp(&other.value));
    let mut text = "| who | workload | way | is faster by | 95 % |\n|---|---|---|---|---|\n".to_owned();
    for (ratio, case, contender) in all {
        let [by, low, high] = [ratio.value, ratio.high, ratio.low].map(|ratio| short(1.0 / ratio));
        writeln!(text, "| {contender} | {} | {} | {by} × | {low} – {high} |", title(&case), case.way)
            .expect("to a string");
    }
    text
}

/// The workload with what is varied of it.
fn title(case: &Case) -> String {
    let setting = if case.setting > 0 { format!(" {}", human(case.setting)) } else { String::new() };
    format!("{}{setting}", case.workload)
}

fn contender_row(text: &mut String, samples: &Samples, case: &Case, contender: &str) {
    let Some(rate) = samples.rate(case, contender) else { return };
    let spread = 100.0 * rate.spread();
    let compared = match samples.ratio((case, OURS), (case, contender)) {
        Some(ratio) if is_compared(contender) => {
            let (value, low, high) = (short(ratio.value), short(ratio.low), short(ratio.high));
            format!("{value} | {low} – {high} | {}", winner(&ratio, OURS, contender))
        }
        _ => "| |".to_owned(),
    };
    writeln!(
        text,
        "| {} | {} | {contender} | {} | {spread:.0} % | {compared} |",
        title(case),
        case.way,
        short(rate.value)
    )
    .expect("to a string");
}

/// Who of the two is faster, if the interval tells.
fn winner(ratio: &Median, one: &str, other: &str) -> String {
    match () {
        () if ratio.low > 1.0 => format!("{one} by {:.2} ×", ratio.value),
        () if ratio.high < 1.0 => format!("{other} by {:.2} ×", 1.0 / ratio.value),
        () => "nobody for sure".to_owned(),
    }
}

/// Three digits or more.
pub fn short(number: f64) -> String {
    match number {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

/// A setting: powers of 1024 with their letter.
pub fn human(number: u64) -> String {
    for (letter, power) in [("M", 20u32), ("K", 10)] {
        if number >= 1 << power && number.is_multiple_of(1 << power) {
            return format!("{} {letter}iB", number >> power);
        }
    }
    number.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::HEADER;
    use std::collections::BTreeSet;

    #[test]
    fn who_wins_is_said_with_the_factor() {
        let samples = Samples::parse(&crate::samples::tests::text()).unwrap();
        let text = markdown(&samples);
        assert!(
            text.contains("| transfer 4 KiB | write | other | 100 | 0 % | 2.00 | 2.00 – 3.00 | pfs by 2.00 × |"),
            "{text}"
        );
        let other = Median { value: 0.5, low: 0.4, high: 0.6, count: 21 };
        assert_eq!(winner(&other, OURS, "Gluster"), "Gluster by 2.00 ×");
        assert_eq!(winner(&Median { value: 1.0, low: 0.9, high: 1.1, count: 21 }, OURS, "x"), "nobody for sure");
    }

    fn table(rows: &[(&str, &str, &str, [f64; 3])]) -> String {
        let mut text = format!("{HEADER}\n");
        for (workload, way, contender, rates) in rows {
            for (round, rate) in (1..=21).zip(rates.iter().cycle()) {
                text += &format!("{workload},0,{way},{contender},{round},{rate},0,1,0\n");
            }
        }
        markdown(&Samples::parse(&text).unwrap())
    }

    #[test]
    fn every_target_has_its_interval_and_a_verdict() {
        let table = table(&[
            ("easy", "write", OURS, [100.0; 3]),
            ("hard-collective", "write", OURS, [70.0; 3]),
            ("hard-single", "read", OURS, [40.0, 50.0, 60.0]),
            ("hard-single", "read", "raw TCP with reductions", [60.0; 3]),
            ("random", "write", OURS, [60.0, 70.0, 90.0]),
            ("random", "write", "pfs no cache", [10.0; 3]),
            ("names", "create", OURS, [4000.0; 3]),
            ("names", "stat", OURS, [25_000.0, 28_000.0, 30_000.0]),
            ("names", "create", DISK, [500.0; 3]),
            ("names", "create", DISK_BOUND, [1000.0; 3]),
        ]);
        for row in [
            "| hard, collective, 16 MiB a call, by easy | write | 21 | 0.70 | 0.70 – 0.70 | ≥ 0.60 | met |  |",
            "| hard, collective, one piece a call, by two reductions and raw TCP | read | 21 | 0.83 | 0.67 – 1.00 | ≥ 0.80 | \
             unresolved | nobody for sure |",
            "| 4 KiB random writes, within the cache, by no cache | write | 21 | 7.00 | 6.00 – 9.00 | ≥ 5.00 | unresolved, all \
             on the right side | pfs by 7.00 × |",
            "| durable creates on a disk, by its syncs × ranks | create | 21 | 0.50 | 0.50 – 0.50 | – | told |  |",
            "| creates a second | create | 21 | 4000 | 4000 – 4000 | ≥ 10000 | missed |  |",
            "| opens with a size query a second | stat | 21 | 28000 | 25000 – 30000 | ≥ 20000 | met |  |",
        ] {
            assert!(table.contains(row), "{row}\nis not in\n{table}");
        }
    }

    #[test]
    fn where_a_comparison_wins_is_told_apart() {
        let ours = ("easy", "write", OURS, [100.0; 3]);
        let faster = table(&[ours, ("easy", "write", "Gluster", [150.0; 3]), ("easy", "write", "x", [90.0; 3])]);
        assert!(faster.contains("| Gluster | easy | write | 1.50 × | 1.50 – 1.50 |\n\n## Contenders"), "{faster}");
        assert!(table(&[ours]).contains("Nowhere for sure."));
    }

    #[test]
    fn every_figure_has_a_name_of_its_own() {
        let names: BTreeSet<&str> =
            WANTED.iter().map(|wanted| wanted.name).chain(WANTED_RATES.iter().map(|wanted| wanted.name)).collect();
        assert_eq!(names.len(), WANTED.len() + WANTED_RATES.len());
    }
}
