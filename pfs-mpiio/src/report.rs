//! The report at the end of a file: what the ranks' caches have done since it was opened.
//!
//! `PFS_REPORT=text` (or `1`) or `PFS_REPORT=json` in the environment of rank 0 asks for it when the file is opened. Rank 0
//! then prints, at the close, the sums over all ranks on standard error: a small table, or one line of JSON. A client is
//! shared by all files of a process, so with several files open at once each report has what was done for the others, too.

use crate::error::{Error, ErrorClass};
use crate::group::Group;
use pfs_client::blocking::Client;
use std::fmt::Write as _;

/// Asks for the report.
const VARIABLE: &str = "PFS_REPORT";

type Counts = [(&'static str, u64); 9];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    None,
    Text,
    Json,
}

impl Form {
    /// What this process's environment asks for.
    pub(crate) fn from_environment() -> Result<Form, Error> {
        Form::parse(std::env::var(VARIABLE).unwrap_or_default().trim())
    }

    /// The form as ranks tell it each other.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Form::None => "0",
            Form::Text => "text",
            Form::Json => "json",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Form, Error> {
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

/// What a file's report needs: its form, and where the client's counts stood when the file was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    form: Form,
    since: Counts,
}

impl Report {
    /// From now on. The form is the same on all ranks.
    pub(crate) fn begin(form: Form, client: &Client) -> Report {
        Report { form, since: client.cache_counters().events() }
    }

    /// Collective: rank 0 prints the report of `name` if one is wanted.
    pub(crate) async fn print(self, group: &Group, client: &Client, name: &str) -> Result<(), Error> {
        if self.form == Form::None {
            return Ok(());
        }
        let now = client.cache_counters().events();
        let own = std::array::from_fn(|at| now[at].1.saturating_sub(self.since[at].1));
        let all: Vec<[u64; 9]> = group.all_gather(own).await?;
        if group.is_root() {
            let sums = std::array::from_fn(|at| (now[at].0, all.iter().map(|counts| counts[at]).sum()));
            eprint!("{}", show(self.form, name, group.size(), sums));
        }
        Ok(())
    }
}

fn show(form: Form, name: &str, ranks: u32, sums: Counts) -> String {
    let mut text = String::new();
    if form == Form::Json {
        // A path has no control character and no quote that Rust's and JSON's escapes would write differently.
        let _ = write!(text, "{{\"file\": {name:?}, \"ranks\": {ranks}, \"cache\": {{");
        for (at, (key, value)) in sums.into_iter().enumerate() {
            let _ = write!(text, "{}\"{key}\": {value}", if at == 0 { "" } else { ", " });
        }
        text.push_str("}}\n");
        return text;
    }
    let _ = writeln!(text, "pfs: {name}, {ranks} ranks, caches since the open");
    for (key, value) in sums {
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
        let names = pfs_client::CacheCounters::default().events().map(|(name, _)| name);
        let sums: Counts = std::array::from_fn(|at| (names[at], 100 + at as u64));
        let json = show(Form::Json, "/a", 4, sums);
        assert!(json.starts_with("{\"file\": \"/a\", \"ranks\": 4, \"cache\": {\"read_hits\": 100, "), "{json}");
        assert!(json.ends_with("\"close_evictions\": 108}}\n"), "{json}");
        let text = show(Form::Text, "/a", 4, sums);
        assert_eq!(text.lines().count(), 1 + sums.len());
        assert!((100..109).all(|value| text.contains(&value.to_string())));
    }
}
