//! What IOR and mdtest say of the machine: its name, the time, and the room on a file system.

use crate::aiori::Space;
use crate::ior::report::Item;

/// The version of IOR whose options and output these programs have, and their own.
pub const IOR_VERSION: &str = concat!("4.1.0+pfs-", env!("CARGO_PKG_VERSION"));

/// The time, as `ctime` writes it.
pub fn time() -> String {
    jiff::Zoned::now().strftime("%a %b %e %H:%M:%S %Y").to_string()
}

/// The time, as mdtest writes it.
pub fn stamp() -> String {
    jiff::Zoned::now().strftime("%m/%d/%Y %T").to_string()
}

/// System and node.
pub fn name() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.sysname().to_string_lossy(), name.nodename().to_string_lossy())
}

/// The node without its number, and the system.
pub fn platform() -> String {
    let name = rustix::system::uname();
    let node = name.nodename().to_string_lossy();
    let node = match node.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "" => &node,
        node => node,
    };
    format!("{node}({})", name.sysname().to_string_lossy())
}

/// The room on a file system, as lines.
pub fn space_lines(path: &str, space: &Space) -> String {
    let (capacity, used) = (capacity(space), used(space.bytes, space.free_bytes));
    let (inodes, used_inodes) = (mebi(space.inodes), used_text(space.inodes, space.free_inodes));
    format!(
        "{:<20}: {path}\n{:<20}: {capacity}   Used FS: {used:.1}%   Inodes: {inodes}   Used Inodes: {used_inodes}\n",
        "Path", "FS"
    )
}

/// The same as fields.
pub fn space_fields(path: &str, space: &Space) -> Vec<(&'static str, Item)> {
    vec![
        ("Path", path.into()),
        ("Capacity", capacity(space).into()),
        ("Used Capacity", used_text(space.bytes, space.free_bytes).into()),
        ("Inodes", mebi(space.inodes).into()),
        ("Used Inodes", used_text(space.inodes, space.free_inodes).into()),
    ]
}

fn capacity(space: &Space) -> String {
    let gib = space.bytes as f64 / f64::from(1 << 30);
    if gib > 1024.0 { format!("{:.1} TiB", gib / 1024.0) } else { format!("{gib:.1} GiB") }
}

fn mebi(number: u64) -> String {
    format!("{:.1} Mi", number as f64 / f64::from(1 << 20))
}

/// Per cent of all that is not free; 0 if there is nothing.
fn used(all: u64, free: u64) -> f64 {
    if all == 0 { 0.0 } else { (1.0 - free as f64 / all as f64) * 100.0 }
}

fn used_text(all: u64, free: u64) -> String {
    format!("{:.1}%", used(all, free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_as_ior_writes_it() {
        let space = Space { bytes: 2 << 40, free_bytes: 1 << 40, inodes: 3 << 20, free_inodes: 3 << 19 };
        let expected = "\
Path                : /x
FS                  : 2.0 TiB   Used FS: 50.0%   Inodes: 3.0 Mi   Used Inodes: 50.0%
";
        assert_eq!(space_lines("/x", &space), expected);
        let none = Space { bytes: 0, free_bytes: 0, inodes: 0, free_inodes: 0 };
        assert!(space_lines("/x", &none).contains("Used FS: 0.0%"));
    }

    #[test]
    fn times_have_the_length_of_ctime() {
        assert_eq!(time().len(), 24, "{}", time());
        assert_eq!(stamp().len(), 19);
    }
}
