//! `pfs man`: manual pages of all commands, made of the same definitions as the command line itself.

use crate::failure::{Failure, Outcome};
use clap::Args;
use clap_mangen::Man;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Write the manual page of every command into a directory, for an installation
#[derive(Debug, Args)]
#[command(hide = true)]
pub struct Flags {
    /// The directory; it must exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The date that the pages bear
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: String,
}

/// Runs the subcommand.
pub fn run(flags: Flags, mut command: clap::Command) -> Outcome {
    command = command.disable_help_subcommand(true);
    command.build();
    write_pages(&command, &flags, "pfs")
        .map_err(|error| Failure::cannot(format_args!("write manual pages to {}", flags.directory.display()), &error))
}

/// The page of a command and those of its subcommands, named like `pfs-server-file.1`.
fn write_pages(command: &clap::Command, flags: &Flags, name: &str) -> io::Result<()> {
    write_page(command, &flags.date, name, &flags.directory.join(format!("{name}.1")))?;
    let shown = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
    shown.into_iter().try_for_each(|below| write_pages(below, flags, &format!("{name}-{}", below.get_name())))
}

fn write_page(command: &clap::Command, date: &str, name: &str, file: &Path) -> io::Result<()> {
    let version = concat!("pfs ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name).date(date).source(version).manual("pfs");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|subcommand| !subcommand.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(notes) = command.get_after_help() {
        write!(page, "{}", notes_section(&notes.to_string()))?;
    }
    fs::write(file, tidied(&String::from_utf8_lossy(&page)))
}

/// What help shows after the options: paragraphs, and indented lines that stay as they are.
fn notes_section(notes: &str) -> String {
    let mut text = ".SH NOTES\n".to_owned();
    let mut in_example = false;
    for line in notes.lines() {
        let is_example = line.starts_with("  ");
        match (in_example, is_example) {
            (false, true) => text += ".RS 4\n.nf\n",
            (true, false) => text += ".fi\n.RE\n",
            _ => {}
        }
        in_example = is_example;
        text += &match line.trim() {
            "" => ".PP\n".to_owned(),
            line => escaped(line) + "\n",
        };
    }
    text + if in_example { ".fi\n.RE\n" } else { "" }
}

/// A line that roff takes as text.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

/// Without breaks where a macro breaks the line anyway, and paragraphs with nothing in them.
fn tidied(page: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in page.lines() {
        let above = lines.last().copied().unwrap_or_default();
        // An empty line is space, and a break beside it one too many.
        let line = if line.is_empty() { ".sp" } else { line };
        match line {
            ".br" if above == ".sp" || above.starts_with(".SH") => continue,
            ".sp" | ".RE" | ".PP" if above == ".br" || above == ".PP" => drop(lines.pop()),
            ".PP" if above.starts_with(".SH") || above == ".RE" => continue,
            _ => {}
        }
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_stay_as_they_are() {
        let page = tidied(&notes_section("Use it:\n\n  pfs x --y\n  pfs z\n\n.dots"));
        let wanted = ".SH NOTES\nUse it:\n.PP\n.RS 4\n.nf\npfs x \\-\\-y\npfs z\n.fi\n.RE\n\\&.dots\n";
        assert_eq!(page, wanted);
    }

    #[test]
    fn space_needs_no_breaks() {
        assert_eq!(tidied("How it looks\n.br\n\n.br\nValues:\n"), "How it looks\n.sp\nValues:\n");
    }
}
