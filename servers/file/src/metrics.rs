//! The metrics of a file server; `docs/METRICS.md` lists them.

use crate::server::FileServer;
use pfs_server_runtime::metrics::collector::Collector;
use pfs_server_runtime::metrics::encoding::DescriptorEncoder;
use pfs_server_runtime::metrics::registry::{Registry, Unit};
use pfs_server_runtime::metrics::{Written, registry};
use std::fmt;
use std::sync::Arc;

/// Everything that a file server tells of itself.
pub fn server_metrics(server: &Arc<FileServer>) -> Registry {
    let mut registry = registry();
    server.traffic.register(&mut registry);
    registry.register_collector(Box::new(Present(server.clone())));
    registry
}

/// What is so at the moment of asking.
struct Present(Arc<FileServer>);

impl fmt::Debug for Present {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metrics of {}", self.0.name)
    }
}

impl Collector for Present {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let server = &self.0;
        let label = server.label.get();
        let mut written = Written(&mut encoder);
        let of_server = [
            ("kind", "file".to_owned()),
            ("name", server.name.clone()),
            ("server_id", label.map_or(0, |label| label.server.get()).to_string()),
            ("cluster_id", label.map_or_else(String::new, |label| label.cluster_id.clone())),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        written.gauges("pfs_server_info", "Which server this is; always 1", None, [(of_server, 1)])?;
        let space = server.traffic.space();
        written.gauge("pfs_store_size", "Size of the store's file system", Some(&Unit::Bytes), space.total_bytes)?;
        written.gauge("pfs_store_free", "Bytes that may still be written", Some(&Unit::Bytes), space.free_bytes)?;
        written.gauge("pfs_store_objects", "Objects in the store", None, space.objects)?;
        let help = "Whether the server may serve data now: 1 or 0";
        written.gauge("pfs_lease_held", help, None, u64::from(server.gate.has_lease()))?;
        let memory = [
            ([("purpose", "writes")], server.writes.used_bytes()),
            ([("purpose", "replies")], server.replies.used_bytes()),
        ];
        written.gauges("pfs_memory_used", "Memory for data under way", Some(&Unit::Bytes), memory)
    }
}
