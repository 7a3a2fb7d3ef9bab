//! Clusters of both kinds: they start, every server can end in every way and come back as itself, nothing is left.

use pfs_proto::metadata::EntryKind;
use pfs_proto::secret::{AuthInterceptor, Secret};
use pfs_proto::status::{ErrorCode, error_detail};
use pfs_proto::transport::{AuthChannel, connect};
use pfs_proto::v1::metadata_client::MetadataClient;
use pfs_proto::{PROTOCOL_VERSION, v1};
use pfs_testkit::{Cluster, ProcessCluster};
use std::net::TcpListener;
use std::path::Path;
use tokio::runtime::{Builder, Runtime};
use tonic::Status;

/// A caller of the metadata server with a runtime of its own.
struct Caller {
    runtime: Runtime,
    metadata: MetadataClient<AuthChannel>,
}

impl Caller {
    fn new(address: &str, secret_file: &Path) -> Self {
        Self::with_secret(address, &Secret::load(secret_file).unwrap())
    }

    fn with_secret(address: &str, secret: &Secret) -> Self {
        // A thread of its own: a client that does not answer holds a graceful stop up.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let metadata = runtime.block_on(async { connect(address, &AuthInterceptor::new(secret)).unwrap() });
        Caller { runtime, metadata: MetadataClient::new(metadata) }
    }

    fn status(&mut self) -> Result<v1::ClusterStatusReply, Status> {
        let request = v1::ClusterStatusRequest { sessions: false };
        self.runtime.block_on(self.metadata.cluster_status(request)).map(tonic::Response::into_inner)
    }

    /// Name, id, address and instance of every live file server.
    fn live_file_servers(&mut self) -> Vec<(String, u32, String, u64)> {
        let servers = self.status().unwrap().file_servers.into_iter().filter(|server| server.live);
        servers.map(|server| (server.name, server.server_id, server.address, server.instance)).collect()
    }

    /// Makes a directory with a session of its own.
    fn make_directory(&mut self, path: &str) {
        let initialize = v1::InitializeRequest {
            protocol_version: PROTOCOL_VERSION,
            cluster_id: String::new(),
            client_name: "testkit".to_owned(),
        };
        let session = self.runtime.block_on(self.metadata.initialize(initialize)).unwrap().into_inner();
        let operation = v1::OperationId { client_id: session.client_id, slot: 0, sequence: 1 };
        let make = v1::MakeDirectoryRequest { operation: Some(operation), path: path.to_owned(), parents: false };
        let made = self.runtime.block_on(self.metadata.make_directory(make)).unwrap().into_inner();
        assert_eq!(made.directory.unwrap().kind, v1::EntryKind::from(EntryKind::Directory) as i32);
    }

    fn counts(&mut self) -> (u64, u64) {
        let status = self.status().unwrap();
        (status.boot, status.directories)
    }
}

/// What must be true of the file servers of a cluster: names and ids in order, at these addresses, as these starts.
fn expect_file_servers(caller: &mut Caller, addresses: &[String], instances: &[u64]) {
    let expected: Vec<_> = (0..addresses.len())
        .map(|index| {
            let id = u32::try_from(index).unwrap() + 1;
            (format!("file-{index}"), id, addresses[index].clone(), instances[index])
        })
        .collect();
    assert_eq!(caller.live_file_servers(), expected);
}

#[test]
fn servers_in_this_process_end_in_every_way_and_come_back_as_themselves() {
    let mut cluster = Cluster::builder(2).stripe_unit(65_536).lease_ms(2000).heartbeat_ms(100).start().unwrap();
    let address = cluster.metadata_address();
    let addresses: Vec<String> = (0..2).map(|index| cluster.file_server_address(index).to_string()).collect();
    let mut caller = Caller::new(&address, &cluster.secret_file());
    expect_file_servers(&mut caller, &addresses, &[1, 1]);

    cluster.kill_file_server(0);
    cluster.start_file_server(0).unwrap();
    cluster.restart_file_server(1).unwrap();
    cluster.restart_file_server(1).unwrap();
    expect_file_servers(&mut caller, &addresses, &[2, 3]);

    caller.make_directory("/kept");
    let (boot, directories) = caller.counts();
    cluster.restart_metadata().unwrap();
    assert_eq!(Caller::new(&address, &cluster.secret_file()).counts(), (boot + 1, directories));

    cluster.kill_all();
    let mut caller = Caller::new(&address, &cluster.secret_file());
    assert_eq!(error_detail(&caller.status().unwrap_err()).code, ErrorCode::Unavailable);
    cluster.start_all().unwrap();
    expect_file_servers(&mut caller, &addresses, &[3, 4]);
    assert_eq!(caller.counts(), (boot + 2, directories));
    cluster.stop().unwrap();
}

#[test]
fn a_dropped_cluster_leaves_no_listener_and_no_directory() {
    let cluster = Cluster::start(1).unwrap();
    let addresses = [cluster.metadata_address(), cluster.file_server_address(0).to_string()];
    let directory = cluster.files().directory().to_owned();
    drop(cluster);
    assert!(!directory.exists());
    for address in addresses {
        TcpListener::bind(&address).unwrap_or_else(|error| panic!("{address} is still taken: {error}"));
    }
}

#[test]
fn a_cluster_in_a_given_directory_stays_there() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let builder = Cluster::builder(2).directory(directory.path()).file_server_directory(1, elsewhere.path());
    let cluster = builder.clone().start().unwrap();
    let id = Caller::new(&cluster.metadata_address(), &cluster.secret_file()).status().unwrap().cluster_id;
    cluster.stop().unwrap();
    assert!(!directory.path().join("file-1").exists() && elsewhere.path().join("label.json").exists());

    let cluster = builder.start().unwrap();
    let again = Caller::new(&cluster.metadata_address(), &cluster.secret_file()).status().unwrap().cluster_id;
    assert_eq!(again, id);
}

#[test]
fn strangers_are_refused() {
    let cluster = Cluster::start(1).unwrap();
    let mut stranger = Caller::with_secret(&cluster.metadata_address(), &Secret::new([0; 32]));
    assert_eq!(error_detail(&stranger.status().unwrap_err()).code, ErrorCode::Unauthenticated);
}

#[test]
fn processes_survive_kill_9_and_stop_on_a_signal() {
    let mut cluster = ProcessCluster::builder(2).stripe_unit(65_536).start_processes().unwrap();
    let address = cluster.metadata_address();
    let addresses: Vec<String> = (0..2).map(|index| cluster.file_server_address(index).to_string()).collect();
    let mut caller = Caller::new(&address, &cluster.secret_file());
    expect_file_servers(&mut caller, &addresses, &[1, 1]);
    caller.make_directory("/kept");
    let (boot, directories) = caller.counts();

    let pid = cluster.file_server_pid(1).unwrap();
    cluster.kill_9_all();
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "a killed server is gone when the call returns");
    assert_eq!((cluster.metadata_pid(), cluster.file_server_pid(1)), (None, None));
    cluster.restart().unwrap();
    let mut caller = Caller::new(&address, &cluster.secret_file());
    expect_file_servers(&mut caller, &addresses, &[2, 2]);
    assert_eq!(caller.counts(), (boot + 1, directories));

    cluster.restart_file_server(0).unwrap();
    expect_file_servers(&mut caller, &addresses, &[3, 2]);
    let directory = cluster.files().directory().to_owned();
    cluster.stop().unwrap();
    assert!(!directory.exists());
}

/// A server that does not start says why in the error, not only in a log that is removed with the cluster.
#[test]
fn a_process_that_does_not_start_tells_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let not_a_store = tempfile::NamedTempFile::new().unwrap();
    let mut cluster = ProcessCluster::builder(1).directory(directory.path()).start_processes().unwrap();
    cluster.kill_file_server(0);
    let store = cluster.files().file_server_store(0);
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::copy(not_a_store.path(), &store).unwrap();
    let error = format!("{:#}", cluster.start_file_server(0).unwrap_err());
    assert!(error.contains("file-0 ended before it served") && error.contains(&store.display().to_string()), "{error}");
}
