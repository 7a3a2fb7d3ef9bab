//! Sizes as people write and read them. `64K`, `64KB` and `64KiB` all mean 64 × 1,024 bytes.

use indicatif::BinaryBytes;
use parse_size::{Config, Error};

/// Reads a size of the command line, in bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    Config::new().with_binary().parse_size(text).map_err(|error| match error {
        Error::PosOverflow => "it is too large for a size in bytes".to_owned(),
        _ => "it is not a size; give bytes, or a number with K, M, G or T, like 65536, 64K or 4MiB".to_owned(),
    })
}

/// A size for people: three significant digits and a binary unit.
pub fn human(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// A rate for people, in MiB/s.
pub fn human_rate(bytes: u64, elapsed: std::time::Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    format!("{:.1} MiB/s", bytes as f64 / f64::from(1 << 20) / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_binary() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64K", 65_536),
            ("64KB", 65_536),
            ("4MiB", 4 << 20),
            ("1g", 1 << 30),
            ("1.5M", 3 << 19),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "K", "4X", "-1", "1 2 K K", "99999999999999999999", "1e40"] {
            assert!(parse_size(text).is_err(), "{text} was taken");
        }
    }
}
