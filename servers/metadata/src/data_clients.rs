//! Calls to the file servers.

use parking_lot::Mutex;
use pfs_core::ids::FileId;
use pfs_proto::data;
use pfs_proto::secret::AuthInterceptor;
use pfs_proto::status::{ErrorCode, ErrorDetail, error_detail};
use pfs_proto::transport::{AuthChannel, connect};
use pfs_proto::v1;
use pfs_proto::v1::data_client::DataClient;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;
use tonic::{Response, Status};

/// How long one call may take; removing a large file's objects takes a while.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Channels to the file servers by address, made when they are first needed.
pub(crate) struct DataClients {
    auth: AuthInterceptor,
    channels: Mutex<BTreeMap<String, AuthChannel>>,
}

impl DataClients {
    pub(crate) fn new(auth: AuthInterceptor) -> Self {
        DataClients { auth, channels: Mutex::default() }
    }

    fn client(&self, address: &str) -> Result<DataClient<AuthChannel>, ErrorDetail> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(DataClient::new(channel.clone()));
        }
        let channel = connect(address, &self.auth)
            .map_err(|error| ErrorDetail::new(ErrorCode::InvalidArgument, error.to_string()))?;
        channels.insert(address.to_owned(), channel.clone());
        Ok(DataClient::new(channel))
    }

    /// Forgets the channel to an address that nobody listens at any more.
    pub(crate) fn forget(&self, address: &str) {
        self.channels.lock().remove(address);
    }

    /// Cuts or extends an object.
    pub(crate) async fn truncate(&self, address: &str, truncate: data::Truncate) -> Result<(), ErrorDetail> {
        let mut client = self.client(address)?;
        in_time(address, client.truncate(v1::TruncateRequest::from(truncate))).await.map(drop)
    }

    /// Removes files' objects; the server refuses the files from then on. At most [`FILES_PER_REMOVE_MAX`].
    ///
    /// [`FILES_PER_REMOVE_MAX`]: pfs_proto::transport::FILES_PER_REMOVE_MAX
    pub(crate) async fn remove(&self, address: &str, files: Vec<FileId>) -> Result<(), ErrorDetail> {
        let mut client = self.client(address)?;
        in_time(address, client.remove(v1::RemoveRequest::from(data::Remove { files }))).await.map(drop)
    }

    /// Has somebody refused. When this returns, nothing older of theirs can touch an object on that server. Returns the
    /// lengths that the objects have then, in their order.
    pub(crate) async fn fence(&self, address: &str, fence: data::Fence) -> Result<Vec<u64>, ErrorDetail> {
        let mut client = self.client(address)?;
        in_time(address, client.fence(v1::FenceRequest::from(fence))).await.map(|reply| reply.object_lengths)
    }

    /// Ends a client's operations up to one. When this returns, none of them can be applied on that server any more.
    pub(crate) async fn drain(&self, address: &str, drain: data::Drain) -> Result<(), ErrorDetail> {
        let mut client = self.client(address)?;
        in_time(address, client.drain(v1::DrainRequest::from(drain))).await.map(drop)
    }
}

async fn in_time<T>(address: &str, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, ErrorDetail> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(error_detail(&status)),
        Err(_) => {
            let text = format!("the file server at {address} did not answer within {CALL_TIMEOUT:?}");
            Err(ErrorDetail::new(ErrorCode::Unavailable, text))
        }
    }
}
