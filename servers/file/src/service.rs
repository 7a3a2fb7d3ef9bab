//! The gRPC service: messages become strict requests here, once, and answers become messages.

use crate::scrub;
use crate::server::FileServer;
use crate::traffic::Operation;
use crate::wire::{Held, Whole};
use bytes::Bytes;
use pfs_core::fence::Fences;
use pfs_proto::data::{
    Allocate, Commit, Drain, Fence, Read, Remove, Scrub, Stat, Truncate, Write, WriteHead, wire_checksums,
};
use pfs_proto::status::{ErrorCode, ErrorDetail, status};
use pfs_proto::transport::MESSAGE_BYTES_MAX;
use pfs_proto::v1;
use pfs_proto::v1::data_server::{Data, DataServer};
use pfs_server_runtime::{CancellationToken, Peer};
use std::sync::Arc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// The service of a file server.
#[derive(Clone)]
pub struct DataService {
    server: Arc<FileServer>,
    shutdown: CancellationToken,
}

impl DataService {
    /// The generated server around the service, with the project's message limits. Streams end with `shutdown`.
    pub fn new(server: Arc<FileServer>, shutdown: CancellationToken) -> DataServer<Self> {
        DataServer::new(DataService { server, shutdown })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn instance(&self) -> u64 {
        self.server.instance.get()
    }

    async fn counted<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, ErrorDetail>>,
    ) -> Result<T, ErrorDetail> {
        self.server.traffic.counted(operation, work).await
    }
}

/// A request without a stamp is as stale as one with an old stamp: whoever sent it holds no token.
pub fn check_stamp(stamp: Option<&v1::Stamp>) -> Result<(), Status> {
    if stamp.is_some() {
        return Ok(());
    }
    Err(status(ErrorCode::Stale, "a data request without a stamp was refused; ask for a token and send its stamp"))
}

/// The connection on which a request has come.
pub fn peer_of(known: Option<&Peer>) -> Result<Peer, Status> {
    known.cloned().ok_or_else(|| status(ErrorCode::Internal, "a request came on no connection of this server"))
}

/// [`crate::wire`] answers these methods.
fn not_here() -> Status {
    status(ErrorCode::Internal, "this method is answered elsewhere in the server")
}

#[tonic::async_trait]
impl Data for DataService {
    /// For requests of an unusual shape; the others are written as they arrive and do not come here.
    async fn write(&self, request: Request<v1::WriteRequest>) -> Result<Response<v1::WriteReply>, Status> {
        let epoch = peer_of(request.extensions().get())?.epoch;
        let request = request.into_inner();
        check_stamp(request.stamp.as_ref())?;
        let Write { stamp, sequence, object, extents, checksums, payload } = Write::try_from(request)?;
        let share = self.server.writes.claim(payload.len() as u64).await;
        let head = WriteHead { stamp, sequence, object, extents, checksums };
        self.server.write(head, epoch, Whole::new(payload, share)).await?;
        Ok(Response::new(v1::WriteReply { instance: self.instance() }))
    }

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<v1::ReadReply>, Status> {
        let peer = peer_of(request.extensions().get())?;
        let request = request.into_inner();
        check_stamp(request.stamp.as_ref())?;
        let answer = self.server.read(Read::try_from(request)?, peer).await?;
        let payload = Bytes::from_owner(answer.payload);
        let checksums = wire_checksums(&answer.checksums);
        let mut response = Response::new(v1::ReadReply { instance: self.instance(), checksums, payload });
        response.extensions_mut().insert(Held::new(answer.share));
        Ok(response)
    }

    async fn commit(&self, request: Request<v1::CommitRequest>) -> Result<Response<v1::CommitReply>, Status> {
        let request = request.into_inner();
        check_stamp(request.stamp.as_ref())?;
        let object_lengths = self.counted(Operation::Commit, self.server.commit(Commit::try_from(request)?)).await?;
        Ok(Response::new(v1::CommitReply { instance: self.instance(), object_lengths }))
    }

    async fn truncate(&self, request: Request<v1::TruncateRequest>) -> Result<Response<v1::TruncateReply>, Status> {
        self.counted(Operation::Truncate, self.server.truncate(Truncate::try_from(request.into_inner())?)).await?;
        Ok(Response::new(v1::TruncateReply { instance: self.instance() }))
    }

    async fn remove(&self, request: Request<v1::RemoveRequest>) -> Result<Response<v1::RemoveReply>, Status> {
        let remove = Remove::try_from(request.into_inner())?;
        let removed_objects = self.counted(Operation::Remove, self.server.remove(remove.files)).await?;
        Ok(Response::new(v1::RemoveReply { removed_objects }))
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::StatReply>, Status> {
        let request = request.into_inner();
        check_stamp(request.stamp.as_ref())?;
        let status = self.counted(Operation::Stat, self.server.stat(Stat::try_from(request)?)).await?;
        Ok(Response::new(v1::StatReply {
            exists: status.is_some(),
            length: status.map_or(0, |status| status.length),
            allocated_bytes: status.map_or(0, |status| status.allocated_bytes),
            instance: self.instance(),
        }))
    }

    async fn fence(&self, request: Request<v1::FenceRequest>) -> Result<Response<v1::FenceReply>, Status> {
        let fence = Fence::try_from(request.into_inner())?;
        tracing::info!(boot_floor = %fence.boot_floor, clients = ?fence.incarnations, groups = ?fence.groups, "fencing");
        let fences = Fences {
            boot_floor: Some(fence.boot_floor),
            incarnations: fence.incarnations.into_iter().collect(),
            groups: fence.groups.into_iter().collect(),
            ..Fences::default()
        };
        self.counted(Operation::Fence, self.server.fence(fences)).await?;
        let object_lengths = self.server.lengths(fence.objects).await?;
        Ok(Response::new(v1::FenceReply { instance: self.instance(), object_lengths }))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainReply>, Status> {
        let request = request.into_inner();
        check_stamp(request.stamp.as_ref())?;
        let drain = Drain::try_from(request)?;
        let done = async {
            self.server.gate.drain(drain.stamp, drain.sequence).await;
            Ok(())
        };
        self.counted(Operation::Drain, done).await?;
        Ok(Response::new(v1::DrainReply { instance: self.instance() }))
    }

    type ReadStreamStream = tonic::codegen::BoxStream<v1::ReadReply>;

    async fn read_stream(&self, _: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStreamStream>, Status> {
        Err(not_here())
    }

    type SmallStream = tonic::codegen::BoxStream<v1::SmallReply>;

    async fn small(
        &self,
        _: Request<tonic::Streaming<v1::SmallRequest>>,
    ) -> Result<Response<Self::SmallStream>, Status> {
        Err(not_here())
    }

    async fn allocate(&self, request: Request<v1::AllocateRequest>) -> Result<Response<v1::AllocateReply>, Status> {
        let epoch = peer_of(request.extensions().get())?.epoch;
        let request = request.into_inner();
        check_stamp(request.stamp.as_ref())?;
        self.counted(Operation::Allocate, self.server.allocate(Allocate::try_from(request)?, epoch)).await?;
        Ok(Response::new(v1::AllocateReply { instance: self.instance() }))
    }

    type ScrubStream = tonic::codegen::BoxStream<v1::ScrubReply>;

    async fn scrub(&self, request: Request<v1::ScrubRequest>) -> Result<Response<Self::ScrubStream>, Status> {
        let scrub = Scrub::try_from(request.into_inner())?;
        self.counted(Operation::Scrub, std::future::ready(Ok(()))).await?;
        let replies = scrub::begin(self.server.clone(), scrub, self.shutdown.clone());
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }

    async fn ping(&self, _: Request<v1::DataPingRequest>) -> Result<Response<v1::DataPingReply>, Status> {
        let label = self.server.label.get().ok_or_else(|| {
            status(ErrorCode::Unavailable, format!("{} is not registered yet; try again", self.server.name))
        })?;
        Ok(Response::new(v1::DataPingReply {
            server_id: label.server.get(),
            instance: self.instance(),
            cluster_id: label.cluster_id.clone(),
        }))
    }
}
