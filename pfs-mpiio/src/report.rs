//! The report at the end of a file: what the ranks' caches have done since it was opened.
//!
//! `PFS_REPORT=text` (or `1`) or `PFS_REPORT=json` in the environment of rank 0 asks for it. Rank 0 then prints, at every
//! close, the sums over all ranks on standard error: a small table, or one line of JSON. A client is shared by all files of a
//! process, so with several files open at once each report has what was done for the others, too.

use crate::error::{Error, ErrorClass};
use crate::group::{Group, ROOT};
use pfs_client::CacheCounters;
use pfs_client::blocking::Client;
use std::fmt::Write as _;

/// Asks for the report.
pub(crate) const VARIABLE: &str = "PFS_REPORT";

const NAMES: [&str; 9] = [
    "read_hits",
    "read_misses",
    "write_hits",
    "write_misses",
    "evictions",
    "write_backs",
    "invalidations",
    "close_write_backs",
    "close_evictions",
];
type Counts = [u64; NAMES.len()];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    None,
    Text,
    Json,
}

impl Form {
    const ALL: [Form; 3] = [Form::None, Form::Text, Form::Json];

    fn parse(text: &str) -> Result<Form, Error> {
        match text {
            "" | "0" => Ok(Form::None),
            "1" | "text" => Ok(Form::Text),
            "json" => Ok(Form::Json),
            other => {
                let message = format!("{VARIABLE} is {other:?}; it must be text, json, or 0 for no report");
                Err(Error::new(ErrorClass::Arg, message))
            }
        }
    }
}

/// Where a client's counts stood when a file was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since(Counts);

impl Since {
    pub(crate) fn now(client: &Client) -> Since {
        Since(counts(client.cache_counters()))
    }

    /// Collective: rank 0 prints the report of `name` if its environment asks for one.
    pub(crate) fn report(self, group: &Group, client: &Client, name: &str) -> Result<(), Error> {
        let wanted = group.ask(ROOT, || {
            let form = Form::parse(std::env::var(VARIABLE).unwrap_or_default().trim())?;
            Ok(vec![form as u8])
        })?;
        let form = Form::ALL.into_iter().find(|form| wanted == [*form as u8]).unwrap_or(Form::None);
        if form == Form::None {
            return Ok(());
        }
        let now = counts(client.cache_counters());
        let own: Counts = std::array::from_fn(|at| now[at].saturating_sub(self.0[at]));
        let all = group.all_gather(own)?;
        if group.is_root() {
            let sums: Counts = std::array::from_fn(|at| all.iter().map(|counts| counts[at]).sum());
            eprint!("{}", show(form, name, group.size(), sums));
        }
        Ok(())
    }
}

fn counts(counters: CacheCounters) -> Counts {
    [
        counters.read_hits,
        counters.read_misses,
        counters.write_hits,
        counters.write_misses,
        counters.evictions,
        counters.write_backs,
        counters.invalidations,
        counters.close_write_backs,
        counters.close_evictions,
    ]
}

fn show(form: Form, name: &str, ranks: u32, sums: Counts) -> String {
    let named = NAMES.into_iter().zip(sums);
    let mut text = String::new();
    if form == Form::Json {
        // A path has no control character and no quote that Rust's and JSON's escapes would write differently.
        let _ = write!(text, "{{\"file\": {name:?}, \"ranks\": {ranks}, \"cache\": {{");
        for (at, (key, value)) in named.enumerate() {
            let _ = write!(text, "{}\"{key}\": {value}", if at == 0 { "" } else { ", " });
        }
        text.push_str("}}\n");
        return text;
    }
    let _ = writeln!(text, "pfs: {name}, {ranks} ranks, caches since the open");
    for (key, value) in named {
        let _ = writeln!(text, "pfs:   {:<18}{value:>12}", key.replace('_', " "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_chosen_by_name() {
        let form = |text| Form::parse(text).unwrap();
        assert_eq!(
            ["", "0", "1", "text", "json"].map(form),
            [Form::None, Form::None, Form::Text, Form::Text, Form::Json]
        );
        assert!(Form::parse("yaml").unwrap_err().to_string().contains("yaml"));
    }

    #[test]
    fn both_forms_have_every_count() {
        let sums: Counts = std::array::from_fn(|at| 100 + at as u64);
        let json = show(Form::Json, "/a", 4, sums);
        assert!(json.starts_with("{\"file\": \"/a\", \"ranks\": 4, \"cache\": {\"read_hits\": 100, "), "{json}");
        assert!(json.ends_with("\"close_evictions\": 108}}\n"), "{json}");
        let text = show(Form::Text, "/a", 4, sums);
        assert_eq!(text.lines().count(), 1 + NAMES.len());
        assert!((100..109).all(|value| text.contains(&value.to_string())));
    }
}
