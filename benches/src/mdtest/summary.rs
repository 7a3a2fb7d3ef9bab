//! What a run has measured, and mdtest's table of it.

use crate::mdtest::params::Params;
use std::fmt::Write as _;

/// What is counted, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Test {
    /// Directories made.
    DirectoryCreation,
    /// Directories looked at.
    DirectoryStat,
    /// Directories renamed.
    DirectoryRename,
    /// Directories removed.
    DirectoryRemoval,
    /// Files made.
    FileCreation,
    /// Files looked at.
    FileStat,
    /// Files read.
    FileRead,
    /// Files removed.
    FileRemoval,
    /// Trees made.
    TreeCreation,
    /// Trees removed.
    TreeRemoval,
}

/// Number of tests.
pub const TESTS: usize = 10;

impl Test {
    /// All of them.
    pub const ALL: [Test; TESTS] = [
        Test::DirectoryCreation,
        Test::DirectoryStat,
        Test::DirectoryRename,
        Test::DirectoryRemoval,
        Test::FileCreation,
        Test::FileStat,
        Test::FileRead,
        Test::FileRemoval,
        Test::TreeCreation,
        Test::TreeRemoval,
    ];

    /// mdtest's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Test::DirectoryCreation => "Directory creation",
            Test::DirectoryStat => "Directory stat",
            Test::DirectoryRename => "Directory rename",
            Test::DirectoryRemoval => "Directory removal",
            Test::FileCreation => "File creation",
            Test::FileStat => "File stat",
            Test::FileRead => "File read",
            Test::FileRemoval => "File removal",
            Test::TreeCreation => "Tree creation",
            Test::TreeRemoval => "Tree removal",
        }
    }

    fn is_tree(self) -> bool {
        self >= Test::TreeCreation
    }
}

/// What one rank has measured of a test.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Items of this rank.
    pub items: f64,
    /// Seconds until all ranks were done.
    pub seconds: f64,
    /// Seconds until this rank was done.
    pub own_seconds: f64,
}

/// All tests of one iteration on one rank.
pub type Iteration = [Measured; TESTS];

impl Measured {
    fn rate(&self) -> f64 {
        if self.items == 0.0 { 0.0 } else { self.items / self.seconds }
    }

    fn own_rate(&self) -> f64 {
        if self.items == 0.0 { 0.0 } else { self.items / self.own_seconds }
    }

    fn millis(&self) -> f64 {
        if self.items == 0.0 { 0.0 } else { self.seconds / self.items * 1e3 }
    }

    fn own_millis(&self) -> f64 {
        if self.items == 0.0 { 0.0 } else { self.own_seconds / self.items * 1e3 }
    }
}

/// Which number is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Items of all ranks in a second.
    Rate,
    /// Milliseconds of a rank's item.
    Time,
}

/// What the parameters ask for.
pub fn numbers(params: &Params) -> Vec<Number> {
    match (params.print_both, params.print_time) {
        (0, 0) => vec![Number::Rate],
        (0, _) => vec![Number::Time],
        _ => vec![Number::Rate, Number::Time],
    }
}

/// The table; `all[iteration][rank]`.
pub fn table(params: &Params, number: Number, all: &[Vec<Iteration>]) -> String {
    let mut text = String::new();
    if params.print_all > 0 {
        text.push_str(&each_rank(number, all));
    }
    let title = match number {
        Number::Rate => "rate (in ops/sec)",
        Number::Time => "time (in ms/op)",
    };
    let (of, by_rank) = (all.len(), params.rank_statistics > 0);
    writeln!(text, "\nSUMMARY {title}: (of {of} iterations)").expect("to a string");
    let (head, rule) = match by_rank {
        true => (
            "per Rank: Max            Min           Mean      per Iteration:",
            "         ---            ---           ----       ",
        ),
        false => ("               ", ""),
    };
    writeln!(text, "   Operation     {head} Max            Min           Mean        Std Dev").expect("to a string");
    writeln!(text, "   ---------      {rule}               ---            ---           ----        -------")
        .expect("to a string");
    for test in Test::ALL {
        let wanted = match test {
            _ if test.is_tree() => true,
            _ if test >= Test::FileCreation => params.files_only > 0,
            _ => params.dirs_only > 0,
        };
        if wanted {
            text.push_str(&line(test, number, by_rank, all));
        }
    }
    text
}

fn line(test: Test, number: Number, by_rank: bool, all: &[Vec<Iteration>]) -> String {
    let of_iteration = |ranks: &Vec<Iteration>| -> f64 {
        let values = ranks.iter().map(|rank| &rank[test as usize]);
        match number {
            // Rank 0 alone makes and removes trees, unless each rank has its own.
            Number::Rate if test.is_tree() => ranks[0][test as usize].rate(),
            Number::Rate => values.map(Measured::rate).fold(f64::MAX, f64::min) * ranks.len() as f64,
            Number::Time => values.map(Measured::millis).fold(0.0, f64::max),
        }
    };
    let iterations = Spread::of(all.iter().map(of_iteration));
    let mut text = format!("   {:<18} ", test.name());
    if by_rank {
        let own = all.iter().flatten().map(|rank| match number {
            Number::Rate => rank[test as usize].own_rate(),
            Number::Time => rank[test as usize].own_millis(),
        });
        let Spread { max, min, mean, .. } = Spread::of(own);
        write!(text, "{max:14.3} {min:14.3} {mean:14.3}     ").expect("to a string");
    }
    let Spread { max, min, mean, deviation } = iterations;
    writeln!(text, "    {max:14.3} {min:14.3} {mean:14.3} {deviation:14.3}").expect("to a string");
    text
}

fn each_rank(number: Number, all: &[Vec<Iteration>]) -> String {
    let title = if number == Number::Rate { "rate" } else { "time" };
    let mut text = format!("\nPer process result ({title}):\n");
    for (iteration, ranks) in all.iter().enumerate() {
        writeln!(text, "iteration: {iteration}").expect("to a string");
        for test in Test::ALL {
            let values = ranks.iter().map(|rank| match number {
                Number::Rate => rank[test as usize].own_rate(),
                Number::Time => rank[test as usize].own_seconds,
            });
            let values: Vec<String> = values.map(|value| format!("{value:e}")).collect();
            writeln!(text, "Test {} {}", test.name(), values.join(",")).expect("to a string");
        }
    }
    text
}

/// The file of each rank's performance, without its head.
pub fn details(all: &[Vec<Iteration>]) -> String {
    let mut text = String::new();
    let mut row = |name: &str, values: &dyn Fn(Test) -> (f64, f64)| {
        text.push_str(name);
        for test in Test::ALL {
            match values(test) {
                (0.0, _) => text.push_str(",,"),
                (items, seconds) => write!(text, ",{:.10e},{seconds:.10e}", items / seconds).expect("to a string"),
            }
        }
        text.push('\n');
    };
    for ranks in all {
        let items: f64 = ranks.iter().map(|rank| rank[Test::FileCreation as usize].items).sum();
        let whole = |test: Test| {
            let measured = ranks.iter().map(|rank| &rank[test as usize]);
            let items = measured.clone().map(|one| one.items).sum();
            (items, measured.map(|one| one.seconds).fold(0.0, f64::max))
        };
        row(&format!("all,{items}"), &whole);
        for (number, rank) in ranks.iter().enumerate() {
            let own = |test: Test| (rank[test as usize].items, rank[test as usize].own_seconds);
            row(&format!("{number},{}", rank[Test::FileCreation as usize].items), &own);
        }
    }
    text
}

/// The head of that file.
pub fn details_header() -> String {
    let columns: String = Test::ALL.map(|test| format!(",rate-{0},time-{0}", test.name())).concat();
    format!("rank,items{columns}\n")
}

/// Maximum, minimum, mean and the standard deviation of a sample.
struct Spread {
    max: f64,
    min: f64,
    mean: f64,
    deviation: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Spread {
        let values: Vec<f64> = values.collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = if values.len() > 1 { (squares / (values.len() - 1) as f64).sqrt() } else { 0.0 };
        let (max, min) =
            (values.iter().copied().fold(f64::MIN, f64::max), values.iter().copied().fold(f64::MAX, f64::min));
        Spread { max, min, mean, deviation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Vec<Iteration>> {
        let rank = |seconds: f64| [Measured { items: 100.0, seconds, own_seconds: seconds / 2.0 }; TESTS];
        vec![vec![rank(1.0), rank(1.0)], vec![rank(2.0), rank(2.0)]]
    }

    #[test]
    fn a_table_as_mdtest_prints_it() {
        let params = Params { files_only: 1, ..Params::default() };
        let expected = "
SUMMARY rate (in ops/sec): (of 2 iterations)
   Operation                     Max            Min           Mean        Std Dev
   ---------                     ---            ---           ----        -------
   File creation                 200.000        100.000        150.000         70.711
   File stat                     200.000        100.000        150.000         70.711
   File read                     200.000        100.000        150.000         70.711
   File removal                  200.000        100.000        150.000         70.711
   Tree creation                 100.000         50.000         75.000         35.355
   Tree removal                  100.000         50.000         75.000         35.355
";
        assert_eq!(table(&params, Number::Rate, &sample()), expected);
    }

    #[test]
    fn times_are_milliseconds_of_an_item() {
        let params = Params { dirs_only: 1, rank_statistics: 1, print_all: 1, ..Params::default() };
        let text = table(&params, Number::Time, &sample());
        assert!(text.contains("SUMMARY time (in ms/op): (of 2 iterations)"));
        let line = text.lines().find(|line| line.starts_with("   Directory stat")).unwrap();
        let numbers: Vec<&str> = line.split_whitespace().skip(2).collect();
        assert_eq!(numbers, ["10.000", "5.000", "7.500", "20.000", "10.000", "15.000", "7.071"]);
        assert!(!text.contains("   File"));
        assert!(text.contains("Test File read 5e-1,5e-1"));
    }

    #[test]
    fn details_have_as_many_fields_as_their_head() {
        let fields = details_header().trim().split(',').count();
        let text = details(&sample());
        assert_eq!(text.lines().count(), 2 * 3);
        assert!(text.lines().all(|line| line.split(',').count() == fields));
        assert!(text.starts_with("all,200,2.0000000000e2,1.0000000000e0,"), "{text}");
    }
}
