//! criterion benches and pfs-ior.
