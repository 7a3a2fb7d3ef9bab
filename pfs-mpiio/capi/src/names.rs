//! Which file names are ours.
//!
//! A name that begins with `pfs:` is. Others are if `PFS_MPIIO_MAP` says so: `FROM=pfs:TO`, several with `,` between them. `FROM`
//! is a folder or a file; `.` is the working directory at the time of the call. A name that is not absolute is taken from the
//! working directory on, `.`, `..` and empty parts are resolved in the text, and the longest `FROM` that it lies in counts. In
//! front of it there may be the name of a file system and a colon, as ROMIO has them (`ufs:/scratch/x`).

use pfs_mpiio::{Error, ErrorClass};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

const VARIABLE: &str = "PFS_MPIIO_MAP";
const SCHEME: &str = "pfs:";

/// What ROMIO lets programs put before a name.
const FILE_SYSTEMS: &[&str] = &[
    "ufs:",
    "nfs:",
    "xfs:",
    "sfs:",
    "hfs:",
    "piofs:",
    "pvfs:",
    "pvfs2:",
    "lustre:",
    "gpfs:",
    "panfs:",
    "bgl:",
    "bglockless:",
    "testfs:",
    "zoidfs:",
    "ime:",
    "quobyte:",
    "daos:",
    "file:",
];

/// A name of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As `pfs_mpiio` takes it.
    pub url: String,
    /// It was written for another file system, whose folders need not be there.
    pub is_mapped: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    /// Absolute, or empty for the working directory.
    from: PathBuf,
    to: String,
}

/// The name of ours that a program's name stands for, if it does.
pub fn ours(name: &str) -> Option<Name> {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    let rules = RULES.get_or_init(|| {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        let (rules, errors): (Vec<_>, Vec<_>) = parts(&text).map(Rule::parse).partition(Result::is_ok);
        // A file that goes to the wrong place is found out late.
        errors
            .into_iter()
            .filter_map(Result::err)
            .for_each(|error| eprintln!("pfs: {VARIABLE}: {error}; this part has no effect"));
        rules.into_iter().flatten().collect()
    });
    find(rules, name, || std::env::current_dir().ok())
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn find(rules: &[Rule], name: &str, directory: impl FnOnce() -> Option<PathBuf>) -> Option<Name> {
    if let Some(rest) = name.strip_prefix(SCHEME) {
        return Some(Name { url: url(rest), is_mapped: false });
    }
    if rules.is_empty() {
        return None;
    }
    let bare = FILE_SYSTEMS.iter().find_map(|system| name.strip_prefix(system)).unwrap_or(name);
    let directory = directory();
    let absolute = resolved(&directory.as_deref().unwrap_or(Path::new("")).join(bare));
    let (rule, from) = rules
        .iter()
        .filter_map(|rule| Some((rule, rule.from(directory.as_deref())?)))
        .filter(|(_, from)| absolute.starts_with(from))
        .max_by_key(|(_, from)| from.components().count())?;
    let rest = absolute.strip_prefix(&from).ok()?.to_str()?;
    Some(Name { url: url(&format!("{}/{rest}", rule.to)), is_mapped: true })
}

impl Rule {
    fn parse(text: &str) -> Result<Rule, Error> {
        let refused = |why: &str| Error::new(ErrorClass::Arg, format!("{text:?} {why}"));
        let at = text.find("=pfs:").ok_or_else(|| refused("is not of the form FROM=pfs:TO"))?;
        let (from, to) = (&text[..at], &text[at + "=pfs:".len()..]);
        let from = match from {
            "." => PathBuf::new(),
            from if from.starts_with('/') => resolved(Path::new(from)),
            _ => return Err(refused("begins with neither / nor a single .")),
        };
        Ok(Rule { from, to: to.trim_end_matches('/').to_owned() })
    }

    fn from(&self, directory: Option<&Path>) -> Option<PathBuf> {
        match self.from.as_os_str().is_empty() {
            true => directory.map(resolved),
            false => Some(self.from.clone()),
        }
    }
}

/// Without `.`, `..` and empty parts.
fn resolved(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::from("/"), |mut resolved, component| {
        match component {
            Component::Normal(part) => resolved.push(part),
            Component::ParentDir => drop(resolved.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
        resolved
    })
}

/// A name of `pfs_mpiio` from what comes after `pfs:`, which is more strict about paths than programs are.
fn url(rest: &str) -> String {
    let (authority, path) = match rest.strip_prefix("//") {
        Some(at_server) => {
            let (authority, path) = at_server.split_once('/').unwrap_or((at_server, ""));
            (format!("//{authority}"), path)
        }
        None => (String::new(), rest),
    };
    format!("{SCHEME}{authority}{}", resolved(Path::new(path)).display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<Rule> {
        parts(text).map(|part| Rule::parse(part).unwrap()).collect()
    }

    fn mapped(map: &str, name: &str) -> Option<String> {
        find(&rules(map), name, || Some(PathBuf::from("/home/me/run"))).map(|name| name.url)
    }

    #[test]
    fn names_with_the_scheme_are_ours() {
        let is = |name: &str, url: &str| {
            assert_eq!(find(&[], name, || None), Some(Name { url: url.to_owned(), is_mapped: false }), "{name}");
        };
        is("pfs:/a/b", "pfs:/a/b");
        is("pfs:a", "pfs:/a");
        is("pfs:/a//b/./c/../d/", "pfs:/a/b/d");
        is("pfs://host:9/a//b", "pfs://host:9/a/b");
        is("pfs://host:9", "pfs://host:9/");
        for other in ["/a/b", "a", "ufs:/a", "", "xpfs:/a"] {
            assert_eq!(find(&[], other, || None), None, "{other}");
        }
    }

    #[test]
    fn a_prefix_is_mapped_by_whole_parts() {
        let map = "/scratch/job=pfs:/job, /scratch/job/big=pfs://h:1/big/";
        let is = |name: &str, url: Option<&str>| assert_eq!(mapped(map, name).as_deref(), url, "{name}");
        is("/scratch/job/a/b", Some("pfs:/job/a/b"));
        is("/scratch/job", Some("pfs:/job"));
        is("/scratch/job/big/x", Some("pfs://h:1/big/x"));
        is("/scratch/./x/../job//a", Some("pfs:/job/a"));
        is("ufs:/scratch/job/a", Some("pfs:/job/a"));
        is("nfs:/scratch/other", None);
        is("/scratch/jobs/a", None);
        is("../../../scratch/job/a", Some("pfs:/job/a"));
        is("a", None);
    }

    #[test]
    fn relative_names_are_taken_from_the_working_directory() {
        let is =
            |map: &str, name: &str, url: Option<&str>| assert_eq!(mapped(map, name).as_deref(), url, "{map} {name}");
        is("/home=pfs:/h", "out.dat", Some("pfs:/h/me/run/out.dat"));
        is(".=pfs:/cwd", "out.dat", Some("pfs:/cwd/out.dat"));
        is(".=pfs:/cwd", "./a/../out.dat", Some("pfs:/cwd/out.dat"));
        is(".=pfs:/cwd", "ufs:out.dat", Some("pfs:/cwd/out.dat"));
        is(".=pfs:/cwd", "/home/me/run/out.dat", Some("pfs:/cwd/out.dat"));
        is(".=pfs:/cwd", "../out.dat", None);
        is(".=pfs:/cwd", "/tmp/out.dat", None);
        is(".=pfs:/cwd,/home=pfs:/h", "../out.dat", Some("pfs:/h/me/out.dat"));
        is(".=pfs:/cwd,/home=pfs:/h", "out.dat", Some("pfs:/cwd/out.dat"));
        is("/=pfs:/all", "out.dat", Some("pfs:/all/home/me/run/out.dat"));
        is(".=pfs:", "out.dat", Some("pfs:/out.dat"));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for wrong in ["/a", "/a=/b", "a=pfs:/b", "..=pfs:/b"] {
            assert!(Rule::parse(wrong).is_err(), "{wrong}");
        }
    }
}
