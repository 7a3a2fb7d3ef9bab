//! The bound on memory: what is allocated for an input grows with the input alone.

/// Bytes that may be allocated for each byte of input. A nested message of two bytes becomes a structure of some hundred.
const BYTES_PER_BYTE: u64 = 512;
/// Bytes that may be allocated for an empty input: texts of errors, and buffers of a fixed size.
const BYTES_AT_LEAST: u64 = 1 << 18;

/// Runs something on an input of this many bytes.
///
/// # Panics
/// If it held more memory at a time than the input allows.
pub fn bounded<T>(input_bytes: usize, run: impl FnOnce() -> T) -> T {
    let mut result = None;
    let info = allocation_counter::measure(|| result = Some(run()));
    let limit = BYTES_AT_LEAST + BYTES_PER_BYTE * input_bytes as u64;
    assert!(info.bytes_max <= limit, "{input_bytes} bytes of input made it hold {} bytes", info.bytes_max);
    result.expect("it ran")
}
