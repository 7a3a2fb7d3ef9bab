//! Every method of the file server, called by a gRPC client that is no part of the project: grpcio, in Python.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::findings::Findings;
use crate::cluster::Cluster;
use crate::python;
use crate::step::Step;
use crate::workspace::{self, Built};

const CLIENT_LIMIT: Duration = Duration::from_secs(180);

/// Runs the client once against one cluster; its last line says how many calls it made.
pub fn run(built: &Built, findings: &mut Findings) -> Result<()> {
    let cluster = Cluster::start(built.program("pfs")?, 1)?;
    findings.check("a client in Python, by grpcio", || {
        let mut command = Command::new(python::interpreter()?);
        command.arg(workspace::root()?.join("servers/file/tests/foreign/client.py"));
        command.arg(workspace::root()?.join("proto"));
        command.args([cluster.variable("PFS_METADATA")?, cluster.variable("PFS_SECRET_FILE")?]);
        let finished = Step::new("client.py", command, CLIENT_LIMIT).run()?;
        finished.stdout.lines().last().map(str::to_owned).context("the client said nothing")
    });
    cluster.stop()
}
