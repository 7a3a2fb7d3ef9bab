//! The table of ratios. Where a comparison wins, it says so and by how much.

use crate::samples::{Case, Samples};
use pfs_bench_datapath::statistics::Median;
use std::fmt::Write as _;

/// The contender that is compared with all others.
pub const OURS: &str = "pfs";

/// A ratio that is wanted to be at least so large: of a workload's contender to another's.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// How it is called.
    pub name: &'static str,
    /// Workload and contender.
    pub of: (&'static str, &'static str),
    /// Those that it is compared with.
    pub to: (&'static str, &'static str),
    /// The least; for rates, of an operation a second.
    pub least: f64,
    /// Ways that count.
    pub ways: &'static [&'static str],
}

const BOTH: &[&str] = &["write", "read"];

/// What is wanted of workloads beside each other.
pub const WANTED: [Wanted; 5] = [
    Wanted { name: "large transfers, raw TCP", of: ("large", OURS), to: ("large", "raw TCP"), least: 0.8, ways: BOTH },
    Wanted { name: "hard collective, easy", of: ("hard-collective", OURS), to: ("easy", OURS), least: 0.6, ways: BOTH },
    Wanted {
        name: "hard independent with cache, easy",
        of: ("hard-independent", OURS),
        to: ("easy", OURS),
        least: 0.5,
        ways: BOTH,
    },
    Wanted {
        name: "4 KiB random writes, cache on, cache off",
        of: ("random", OURS),
        to: ("random", "pfs no cache"),
        least: 5.0,
        ways: &["write"],
    },
    Wanted {
        name: "4 KiB random writes of 4 × the cache, cache on, cache off",
        of: ("random-4x", OURS),
        to: ("random-4x", "pfs no cache"),
        least: 0.0,
        ways: &["write"],
    },
];

/// Operations a second that are wanted of names, by way.
pub const NAMES_WANTED: [(&str, f64); 3] = [("create", 10_000.0), ("stat", 20_000.0), ("remove", 10_000.0)];

/// Everything as Markdown.
pub fn markdown(samples: &Samples) -> String {
    let mut text = String::new();
    text.push_str("## Wanted\n\n| | | median | 95 % | wanted | |\n|---|---|---|---|---|---|\n");
    for wanted in WANTED {
        for way in wanted.ways {
            let (of, to) = (case(wanted.of.0, way), case(wanted.to.0, way));
            if let Some(ratio) = samples.ratio((&of, wanted.of.1), (&to, wanted.to.1)) {
                let verdict = if wanted.least > 0.0 { verdict(&ratio, wanted.least) } else { "told" };
                row(&mut text, wanted.name, way, &ratio, wanted.least, verdict);
            }
        }
    }
    for (way, least) in NAMES_WANTED {
        if let Some(rate) = samples.rate(&case("names", way), OURS) {
            row(&mut text, "operations a second", way, &rate, least, verdict(&rate, least));
        }
    }
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

fn case(workload: &str, way: &str) -> Case {
    Case { workload: workload.to_owned(), setting: 0, way: way.to_owned() }
}

fn row(text: &mut String, name: &str, way: &str, value: &Median, least: f64, verdict: &str) {
    let (value, low, high) = (short(value.value), short(value.low), short(value.high));
    writeln!(text, "| {name} | {way} | {value} | {low} – {high} | {} | {verdict} |", short(least))
        .expect("to a string");
}

fn contender_row(text: &mut String, samples: &Samples, case: &Case, contender: &str) {
    let Some(rate) = samples.rate(case, contender) else { return };
    let setting = if case.setting > 0 { format!(" {}", human(case.setting)) } else { String::new() };
    let spread = 100.0 * rate.spread();
    let compared = match samples.ratio((case, OURS), (case, contender)) {
        Some(ratio) if contender != OURS => {
            let (value, low, high) = (short(ratio.value), short(ratio.low), short(ratio.high));
            format!("{value} | {low} – {high} | {}", winner(&ratio, contender))
        }
        _ => "| |".to_owned(),
    };
    writeln!(
        text,
        "| {}{setting} | {} | {contender} | {} | {spread:.0} % | {compared} |",
        case.workload,
        case.way,
        short(rate.value)
    )
    .expect("to a string");
}

/// Who is faster, if the interval tells.
fn winner(ratio: &Median, contender: &str) -> String {
    match () {
        () if ratio.low > 1.0 => format!("pfs by {:.2} ×", ratio.value),
        () if ratio.high < 1.0 => format!("{contender} by {:.2} ×", 1.0 / ratio.value),
        () => "nobody for sure".to_owned(),
    }
}

/// What the interval says: met if it reaches at most 3 % under what is wanted, unresolved if it is too wide to tell.
fn verdict(value: &Median, least: f64) -> &'static str {
    match () {
        () if value.low >= 0.97 * least => "met",
        () if value.high < least => "missed",
        () if value.spread() > 0.05 => "unresolved",
        () => "missed",
    }
}

/// Three digits or more.
fn short(number: f64) -> String {
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

    #[test]
    fn who_wins_is_said_with_the_factor() {
        let samples = Samples::parse(&crate::samples::tests::text()).unwrap();
        let text = markdown(&samples);
        assert!(
            text.contains("| transfer 4 KiB | write | other | 100 | 0 % | 2.00 | 2.00 – 3.00 | pfs by 2.00 × |"),
            "{text}"
        );
        let other = Median { value: 0.5, low: 0.4, high: 0.6 };
        assert_eq!(winner(&other, "Gluster"), "Gluster by 2.00 ×");
        assert_eq!(winner(&Median { value: 1.0, low: 0.9, high: 1.1 }, "x"), "nobody for sure");
    }

    #[test]
    fn what_is_wanted_has_a_verdict() {
        let mut text = format!("{HEADER}\n");
        for round in 1..=3 {
            text += &format!("easy,0,write,pfs,{round},100,0,1,0\nhard-collective,0,write,pfs,{round},70,0,1,0\n");
            text += &format!("names,0,create,pfs,{round},4000,0,1,0\n");
        }
        let table = markdown(&Samples::parse(&text).unwrap());
        assert!(table.contains("| hard collective, easy | write | 0.70 | 0.70 – 0.70 | 0.60 | met |"), "{table}");
        assert!(table.contains("| operations a second | create | 4000 | 4000 – 4000 | 10000 | missed |"), "{table}");
    }
}
