//! Sizes on a command line.

/// A number of bytes with the suffixes k, m and g, powers of 1024.
pub fn size(text: &str) -> Result<u64, String> {
    let refused = || format!("{text:?} is not a size like 512, 64k, 8m or 1g");
    let (digits, unit) = match text.to_ascii_lowercase().chars().last() {
        Some('k') => (&text[..text.len() - 1], 1 << 10),
        Some('m') => (&text[..text.len() - 1], 1 << 20),
        Some('g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1u64),
    };
    let number: u64 = digits.parse().map_err(|_| refused())?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn suffixes_are_powers_of_1024() {
        assert_eq!((size("512"), size("64k"), size("8M"), size("1g")), (Ok(512), Ok(65536), Ok(8 << 20), Ok(1 << 30)));
        for wrong in ["", "m", "8x", "-1", "0", "99999999999999g"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
