//! Compiles the protobuf files with a compiler that is itself a Rust library, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=pfs");
    let files = ["common", "metadata", "token", "data"].map(|name| format!("pfs/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure()
        .bytes(".pfs.v1.WriteRequest.payload")
        .bytes(".pfs.v1.ReadReply.payload")
        .type_attribute(".pfs.v1.CacheCounters", "#[derive(serde::Serialize)]")
        .compile_fds(descriptors)?;
    Ok(())
}
