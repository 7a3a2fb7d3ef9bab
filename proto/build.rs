//! Compiles the protobuf files with a compiler that is itself a Rust library, so that no `protoc` is needed.

use prost::Message;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=pfs");
    let files = ["common", "activity", "metadata", "token", "data"].map(|name| format!("pfs/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["."])?;
    let out = std::env::var_os("OUT_DIR").ok_or("cargo names a directory for what is generated")?;
    std::fs::write(Path::new(&out).join("descriptors.bin"), descriptors.encode_to_vec())?;
    // What programs get as JSON, from the page and from `pfs top`, has the names of these fields.
    const SHOWN: [&str; 9] = [
        "ActivityReply",
        "TrafficRates",
        "TokenRates",
        "ServerActivity",
        "DataCounters",
        "FileActivity",
        "SessionActivity",
        "Moment",
        "CacheCounters",
    ];
    let mut config = tonic_prost_build::configure();
    for message in SHOWN {
        config = config.type_attribute(format!(".pfs.v1.{message}"), "#[derive(serde::Serialize)]");
    }
    for message in ["WriteRequest", "WriteSection", "ReadReply"] {
        config = config.bytes(format!(".pfs.v1.{message}.payload"));
    }
    config.compile_fds(descriptors)?;
    Ok(())
}
