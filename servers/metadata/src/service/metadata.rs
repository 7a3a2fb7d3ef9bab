//! The metadata service: every call's conversion, and where it is answered.
//!
//! Calls that change something run detached from their connection: a caller that goes away does not leave a change
//! half announced, and finds its answer when it repeats the operation.

use super::{files, names, operators, servers, sessions};
use crate::server::Shared;
use pfs_proto::metadata as strict;
use pfs_proto::v1;
use pfs_proto::v1::metadata_server::Metadata;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(super) struct MetadataService {
    shared: Arc<Shared>,
}

impl MetadataService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        MetadataService { shared }
    }

    /// Converts a request, runs its work to the end whatever becomes of the caller, and converts the answer.
    async fn change<W, C, A, V, F>(
        &self,
        method: &'static str,
        request: Request<W>,
        work: impl FnOnce(Arc<Shared>, C) -> F,
    ) -> Result<Response<V>, Status>
    where
        C: TryFrom<W, Error = pfs_proto::convert::ConvertError>,
        F: Future<Output = Result<A, Status>> + Send + 'static,
        A: Into<V> + Send + 'static,
    {
        let converted = C::try_from(request.into_inner())?;
        let done = self.shared.background.detached(work(self.shared.clone(), converted));
        let done = self.shared.metrics.counted(method, done).await?;
        Ok(Response::new(done.into()))
    }
}

#[tonic::async_trait]
impl Metadata for MetadataService {
    async fn initialize(
        &self,
        request: Request<v1::InitializeRequest>,
    ) -> Result<Response<v1::InitializeReply>, Status> {
        self.change("initialize", request, sessions::initialize).await
    }

    async fn ping(&self, _request: Request<v1::PingRequest>) -> Result<Response<v1::PingReply>, Status> {
        let Shared { boot, cluster_id, .. } = &*self.shared;
        Ok(Response::new(v1::PingReply { boot: boot.get(), cluster_id: cluster_id.clone() }))
    }

    async fn create_file(
        &self,
        request: Request<v1::CreateFileRequest>,
    ) -> Result<Response<v1::OpenFileReply>, Status> {
        self.change("create_file", request, files::create).await
    }

    async fn open_file(&self, request: Request<v1::OpenFileRequest>) -> Result<Response<v1::OpenFileReply>, Status> {
        self.change("open_file", request, files::open).await
    }

    async fn close_file(&self, request: Request<v1::CloseFileRequest>) -> Result<Response<v1::CloseFileReply>, Status> {
        self.change("close_file", request, files::close).await
    }

    async fn move_pointer(
        &self,
        request: Request<v1::MovePointerRequest>,
    ) -> Result<Response<v1::MovePointerReply>, Status> {
        self.change("move_pointer", request, files::move_pointer).await
    }

    async fn fetch_metadata(
        &self,
        request: Request<v1::FetchMetadataRequest>,
    ) -> Result<Response<v1::FetchMetadataReply>, Status> {
        let fetch = strict::FetchMetadata::try_from(request.into_inner())?;
        let work = files::fetch(self.shared.clone(), fetch);
        self.shared.metrics.counted("fetch_metadata", work).await.map(Response::new)
    }

    async fn update_metadata(
        &self,
        request: Request<v1::UpdateMetadataRequest>,
    ) -> Result<Response<v1::FetchMetadataReply>, Status> {
        self.change("update_metadata", request, files::update).await
    }

    async fn delete_file(
        &self,
        request: Request<v1::DeleteFileRequest>,
    ) -> Result<Response<v1::DeleteFileReply>, Status> {
        self.change("delete_file", request, names::delete).await
    }

    async fn list_directory(
        &self,
        request: Request<v1::ListDirectoryRequest>,
    ) -> Result<Response<v1::ListDirectoryReply>, Status> {
        let list = strict::ListDirectory::try_from(request.into_inner())?;
        let work = names::list(self.shared.clone(), list);
        Ok(Response::new(self.shared.metrics.counted("list_directory", work).await?.into()))
    }

    async fn make_directory(
        &self,
        request: Request<v1::MakeDirectoryRequest>,
    ) -> Result<Response<v1::MakeDirectoryReply>, Status> {
        self.change("make_directory", request, names::make_directory).await
    }

    async fn rename(&self, request: Request<v1::RenameRequest>) -> Result<Response<v1::RenameReply>, Status> {
        self.change("rename", request, names::rename).await
    }

    async fn client_shutdown(
        &self,
        request: Request<v1::ClientShutdownRequest>,
    ) -> Result<Response<v1::ClientShutdownReply>, Status> {
        let client = sessions::client_of(request.get_ref())?;
        let work = sessions::shut_down(self.shared.clone(), client);
        self.shared.background.detached(work).await.map(Response::new)
    }

    async fn register_file_server(
        &self,
        request: Request<v1::RegisterFileServerRequest>,
    ) -> Result<Response<v1::RegisterFileServerReply>, Status> {
        self.change("register", request, servers::register).await
    }

    async fn heartbeat(&self, request: Request<v1::HeartbeatRequest>) -> Result<Response<v1::HeartbeatReply>, Status> {
        let heartbeat = strict::Heartbeat::try_from(request.into_inner())?;
        Ok(Response::new(servers::heartbeat(&self.shared, heartbeat).await?.into()))
    }

    async fn vouch_file(&self, request: Request<v1::VouchFileRequest>) -> Result<Response<v1::VouchFileReply>, Status> {
        let vouch = strict::VouchFile::try_from(request.into_inner())?;
        let exists = servers::vouch(&self.shared, vouch).await?;
        Ok(Response::new(v1::VouchFileReply { exists }))
    }

    async fn cluster_status(
        &self,
        request: Request<v1::ClusterStatusRequest>,
    ) -> Result<Response<v1::ClusterStatusReply>, Status> {
        operators::cluster_status(&self.shared, request.into_inner().sessions).await.map(Response::new)
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensReply>, Status> {
        let list = strict::ListTokens::try_from(request.into_inner())?;
        operators::list_tokens(&self.shared, list).await.map(Response::new)
    }

    async fn fetch_activity(
        &self,
        request: Request<v1::ActivityRequest>,
    ) -> Result<Response<v1::ActivityReply>, Status> {
        operators::activity(&self.shared, request.into_inner()).await.map(Response::new)
    }
}
