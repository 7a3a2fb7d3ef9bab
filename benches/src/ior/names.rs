//! The names of test files.

use crate::ior::params::Params;

/// The name of the file with a rank's data: `-o A@B` takes several in turn with `-F`, which adds the rank's number; `-u` puts
/// it into a directory of the rank; `-m` adds the repetition's number.
pub fn file(params: &Params, whose: u64, repetition: u32) -> String {
    let names: Vec<&str> = params.file.split('@').filter(|name| !name.is_empty()).collect();
    let mut name = match params.file_per_rank {
        0 => names.first().copied().unwrap_or("").to_owned(),
        _ => {
            let root = names.get(whose as usize % names.len().max(1)).copied().unwrap_or("");
            match directory(params, whose) {
                Some(directory) => format!("{directory}/{}.{whose:08}", base(root)),
                None => format!("{root}.{whose:08}"),
            }
        }
    };
    if params.multi_file > 0 {
        name = format!("{name}.{repetition}");
    }
    name
}

/// The directory of a rank's own, with `-u`.
pub fn directory(params: &Params, whose: u64) -> Option<String> {
    let parent = params.file.rsplit_once('/').map_or(String::new(), |(parent, _)| format!("{parent}/"));
    (params.unique_dir > 0).then(|| format!("{parent}{whose}"))
}

fn base(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.strip_prefix("pfs:").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(file: &str, file_per_rank: u32, unique_dir: u32, multi_file: u32) -> Params {
        Params { file: file.to_owned(), file_per_rank, unique_dir, multi_file, ..Params::default() }
    }

    #[test]
    fn files_are_named_as_ior_names_them() {
        assert_eq!(file(&params("/d/x", 0, 0, 0), 3, 1), "/d/x");
        assert_eq!(file(&params("/d/x", 0, 0, 1), 3, 1), "/d/x.1");
        assert_eq!(file(&params("/d/x", 1, 0, 0), 3, 1), "/d/x.00000003");
        assert_eq!(file(&params("/d/x", 1, 0, 1), 3, 1), "/d/x.00000003.1");
        assert_eq!(file(&params("pfs:/d/x", 1, 1, 0), 3, 1), "pfs:/d/3/x.00000003");
        assert_eq!(file(&params("/a/x@/b/y", 1, 0, 0), 3, 0), "/b/y.00000003");
        assert_eq!(file(&params("/a/x@/b/y", 0, 0, 0), 3, 0), "/a/x");
        assert_eq!(directory(&params("pfs:/d/x", 1, 1, 0), 2).unwrap(), "pfs:/d/2");
    }
}
