//! Answers on standard output: text and tables for people, JSON for programs.
//!
//! A reader that closes its end early, like `head`, is no failure.

use crate::failure::{Failure, Outcome};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::io::{self, ErrorKind, Write};
use std::time::{Duration, UNIX_EPOCH};

/// Prints text as it is.
pub fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::cannot("write standard output", &error)),
        _ => Ok(()),
    }
}

/// Prints one JSON document.
pub fn print_json(value: &impl Serialize) -> Outcome {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::cannot("write the answer as JSON", &error))?;
    print(&(text + "\n"))
}

/// A column's heading and whether its cells are numbers, which stand at the right.
pub struct Column(pub &'static str, pub Align);

/// Where a column's cells stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table without lines, one row a line, ready to print.
pub fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(columns.iter().map(|column| column.0));
    for (index, column) in columns.iter().enumerate() {
        let cells = table.column_mut(index).expect("one column for each heading");
        cells.set_padding((0, 2));
        if column.1 == Align::Right {
            cells.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.add_rows(rows);
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// A point in time, in UTC, to the second.
pub fn time(since_epoch_ns: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(since_epoch_ns)).to_string()
}

/// A length of time for people.
pub fn duration_ms(ms: u64) -> String {
    let duration = Duration::from_millis(ms);
    let shown = if ms < 10_000 { duration } else { Duration::from_secs(duration.as_secs()) };
    humantime::format_duration(shown).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stand_in_columns() {
        let columns = [Column("NAME", Align::Left), Column("BYTES", Align::Right)];
        let text = table(&columns, [vec!["a".into(), "5".into()], vec!["long".into(), "12345".into()]]);
        assert_eq!(text, "NAME  BYTES\na         5\nlong  12345\n");
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(time(1_000_000_000_000_000_000), "2001-09-09T01:46:40Z");
        assert_eq!(duration_ms(1_500), "1s 500ms");
        assert_eq!(duration_ms(61_400), "1m 1s");
    }
}
