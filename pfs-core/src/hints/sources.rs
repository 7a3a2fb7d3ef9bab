//! Hints from outside of the program: ROMIO's file of hints, and a line of text in the environment.

use super::HintError;

/// The pairs of a file in ROMIO's format: a key and a value on each line, with blanks between them. A line that begins with
/// `#`, and one that has not exactly two words, is passed over. Of a key that comes twice the first counts.
pub fn romio_file(text: &str) -> Vec<(&str, &str)> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        if let (Some(key), Some(value), None) = (words.next(), words.next(), words.next())
            && pairs.iter().all(|(known, _)| *known != key)
        {
            pairs.push((key, value));
        }
    }
    pairs
}

/// The pairs of `key=value;key=value;…`.
pub fn line(text: &str) -> Result<Vec<(&str, &str)>, HintError> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &str| Err(HintError::Pair { text: part.to_owned() });
    parts.map(|part| part.split_once('=').map_or_else(|| pair(part), |(k, v)| Ok((k.trim(), v.trim())))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_hints_is_read_as_romio_does() {
        let text = "# all of them\ncb_nodes 32\n\ncb_config_list\tn01,n11 \n too many words\nalone\ncb_nodes 7\n #not first 1\n";
        assert_eq!(romio_file(text), [("cb_nodes", "32"), ("cb_config_list", "n01,n11")]);
    }

    #[test]
    fn a_line_of_hints_has_pairs() {
        assert_eq!(
            line(" cb_nodes=2; pfs_list_io = disable ;;").unwrap(),
            [("cb_nodes", "2"), ("pfs_list_io", "disable")]
        );
        assert_eq!(line("").unwrap(), []);
        assert!(line("cb_nodes").unwrap_err().to_string().contains("\"cb_nodes\""));
    }
}
