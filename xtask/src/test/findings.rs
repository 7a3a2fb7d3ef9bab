//! What the parts found, and the table at the end.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Counts of one part's checks and of the tests inside them.
#[derive(Debug, Default)]
pub struct Findings {
    checks: u32,
    failed_checks: Vec<Failure>,
    tests: TestCounts,
}

/// A check that failed.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    name: String,
    error: String,
}

impl Failure {
    /// Lines of an error that are shown again at the end; its first ones say what was run, its last ones how it ended.
    const LINES: usize = 60;

    fn shortened(&self) -> String {
        let lines: Vec<&str> = self.error.lines().collect();
        if lines.len() <= Self::LINES {
            return lines.join("\n");
        }
        let (first, last) = (Self::LINES / 4, Self::LINES - Self::LINES / 4);
        let left_out = format!("... {} lines more, above", lines.len() - first - last);
        [&lines[..first], &[left_out.as_str()], &lines[lines.len() - last..]].concat().join("\n")
    }
}

/// Tests as the test programs count them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TestCounts {
    /// Tests that passed.
    pub passed: u32,
    /// Tests that failed.
    pub failed: u32,
    /// Tests that were not run.
    pub ignored: u32,
}

impl TestCounts {
    /// Adds up the closing lines (`test result: …`) of test programs.
    pub fn of_output(output: &str) -> Self {
        let mut counts = Self::default();
        for line in closing_lines(output) {
            counts.passed += number_before(line, " passed");
            counts.failed += number_before(line, " failed");
            counts.ignored += number_before(line, " ignored");
        }
        counts
    }
}

/// The lines in which test programs say how many tests they ran, without those that had none.
pub fn closing_lines(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter(|line| line.starts_with("test result:") && !line.contains(" 0 passed; 0 failed; 0 ignored;"))
}

fn number_before(line: &str, word: &str) -> u32 {
    let before = line.split_once(word).map_or("", |(before, _)| before);
    before.rsplit([' ', ';']).next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl Findings {
    /// Runs one check, says how it went, and shows the whole error of one that failed.
    pub fn check(&mut self, name: &str, check: impl FnOnce() -> Result<String>) {
        let started = Instant::now();
        let result = check();
        let seconds = started.elapsed().as_secs_f64();
        self.checks += 1;
        match result {
            Ok(shown) => {
                println!("{name}: ok, {seconds:.1} s");
                if !shown.trim().is_empty() {
                    println!("{}", shown.trim_end());
                }
            }
            Err(error) => {
                let failure = Failure { name: name.to_owned(), error: format!("{error:#}") };
                println!("{name}: FAILED, {seconds:.1} s\n{}", failure.error);
                self.failed_checks.push(failure);
            }
        }
    }

    /// Adds what a test program counted.
    pub fn count(&mut self, counts: TestCounts) {
        self.tests.passed += counts.passed;
        self.tests.failed += counts.failed;
        self.tests.ignored += counts.ignored;
    }
}

/// One line of the table.
pub struct Row {
    part: &'static str,
    elapsed: Duration,
    findings: Findings,
}

impl Row {
    /// Runs one part and takes its time.
    pub fn of(part: &'static str, run: impl FnOnce(&mut Findings) -> Result<()>) -> Self {
        println!("\n== {part}");
        let started = Instant::now();
        let mut findings = Findings::default();
        if let Err(error) = run(&mut findings) {
            findings.check(part, || Err(error));
        }
        Self { part, elapsed: started.elapsed(), findings }
    }

    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        self.findings.failed_checks.is_empty()
    }
}

/// All parts with their results and times.
pub fn table(rows: &[Row]) -> String {
    let mut text =
        format!("{:<8} {:<8} {:>7} {:>8} {:>7} {:>9}\n", "part", "result", "checks", "tests", "failed", "seconds");
    for row in rows {
        let Findings { checks, failed_checks, tests } = &row.findings;
        let result = if row.passed() { "ok" } else { "FAILED" };
        let (run, seconds) = (tests.passed + tests.failed, row.elapsed.as_secs_f64());
        text += &format!("{:<8} {result:<8} {checks:>7} {run:>8} {:>7} {seconds:>9.1}\n", row.part, tests.failed);
        for failure in failed_checks {
            text += &format!("         failed: {}\n", failure.name);
        }
    }
    let total: Duration = rows.iter().map(|row| row.elapsed).sum();
    let tests: u32 = rows.iter().map(|row| row.findings.tests.passed).sum();
    let ignored: u32 = rows.iter().map(|row| row.findings.tests.ignored).sum();
    text + &format!("{tests} tests passed, {ignored} ignored, {:.1} s in all", total.as_secs_f64())
}

/// The errors of all checks that failed once more, each shortened: what came after them may have scrolled them away.
pub fn failures(rows: &[Row]) -> String {
    let failures = rows.iter().flat_map(|row| row.findings.failed_checks.iter().map(|failure| (row.part, failure)));
    failures.map(|(part, failure)| format!("\n-- {part}: {} FAILED\n{}\n", failure.name, failure.shortened())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let output = "running 2 tests\ntest result: ok. 41 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.2s\n";
        assert_eq!(TestCounts::of_output(output), TestCounts { passed: 44, failed: 2, ignored: 1 });
        assert_eq!(closing_lines(output).count(), 2);
    }

    #[test]
    fn a_failed_check_fails_its_part_and_the_others_still_run() {
        let row = Row::of("unit", |findings| {
            findings.check("first", || anyhow::bail!("why"));
            findings.check("second", || Ok(String::new()));
            Ok(())
        });
        assert!(!row.passed());
        let first = Failure { name: "first".to_owned(), error: "why".to_owned() };
        assert_eq!((row.findings.checks, row.findings.failed_checks.as_slice()), (2, &[first][..]));
        assert!(table(std::slice::from_ref(&row)).contains("failed: first"));
        assert_eq!(failures(&[row]), "\n-- unit: first FAILED\nwhy\n");
    }

    #[test]
    fn a_long_error_is_shown_again_with_its_start_and_its_end() {
        let error = (0..1000).map(|line| format!("{line}\n")).collect();
        let shown = Failure { name: "long".to_owned(), error }.shortened();
        assert!(shown.starts_with("0\n1\n") && shown.ends_with("\n998\n999"), "{shown}");
        assert!(shown.contains("\n14\n... 940 lines more, above\n955\n"), "{shown}");
    }

    #[test]
    fn a_part_that_cannot_run_has_failed() {
        assert!(!Row::of("mpi", |_| anyhow::bail!("no launcher")).passed());
        assert!(Row::of("mpi", |_| Ok(())).passed());
    }
}
