//! Hints as IOR takes them: `IOR_HINT__MPI__key=value` in the environment, then in the lines of a file, which count more.

use std::collections::BTreeMap;

const PREFIX: &str = "IOR_HINT__MPI__";

/// The hints of an environment and of the text of a file, by key.
pub fn gathered(environment: impl IntoIterator<Item = (String, String)>, file: Option<&str>) -> Vec<(String, String)> {
    let mut hints = BTreeMap::new();
    for (name, value) in environment {
        if let Some(key) = name.strip_prefix(PREFIX) {
            hints.insert(key.to_owned(), value.trim().to_owned());
        }
    }
    for line in file.unwrap_or("").lines() {
        let Some(text) = line.trim().strip_prefix(PREFIX) else { continue };
        // `setenv NAME VALUE` of older files has a blank where others have `=`.
        let split = text.split_once(['=', ' ']).map(|(key, value)| (key.trim(), value.trim_start_matches(['=', ' '])));
        if let Some((key, value)) = split.filter(|(key, _)| !key.is_empty()) {
            hints.insert(key.to_owned(), value.trim().to_owned());
        }
    }
    hints.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_more_than_the_environment() {
        let environment = [
            ("IOR_HINT__MPI__cb_nodes".to_owned(), "2".to_owned()),
            ("IOR_HINT__MPI__striping_unit".to_owned(), "65536".to_owned()),
            ("IOR_HINT__GPFS__x".to_owned(), "1".to_owned()),
            ("HOME".to_owned(), "/".to_owned()),
        ];
        let file = "# hints\nIOR_HINT__MPI__cb_nodes=4\n IOR_HINT__MPI__romio_cb_write = enable \nother=1\n";
        let expected = [("cb_nodes", "4"), ("romio_cb_write", "enable"), ("striping_unit", "65536")];
        let hints = gathered(environment, Some(file));
        assert_eq!(hints, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
