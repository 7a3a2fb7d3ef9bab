//! Calls of the metadata service that come on token streams: the same work as of the unary calls, answered by a message with
//! the call's number.
//!
//! A call is begun in the task that has received it, where most of those that only read end at once. One that has to wait, for
//! the disk or for somebody, goes on in a task of its own, so calls of one client pass each other.

use super::{files, names};
use crate::background::Background;
use crate::server::Shared;
use crate::tokens::Stopped;
use pfs_core::ids::{ClientId, RequestId};
use pfs_proto::convert::ConvertError;
use pfs_proto::metadata as strict;
use pfs_proto::status::{ErrorCode, error_detail, status};
use pfs_proto::v1;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use tonic::Status;
use v1::metadata_call::Method;
use v1::metadata_reply::Result as Reply;

/// Runs a call that has come, and those of the same client that wait for its end. Their number is bounded where they come from.
/// Returns when it is over, or has to wait for something.
pub(super) async fn begin(shared: &Arc<Shared>, client: ClientId, call: v1::MetadataCall) {
    // Boxed: it may be moved into a task.
    let mut work = Box::pin(run(shared.clone(), client, call));
    let is_over = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx).is_ready())).await;
    if !is_over {
        shared.background.spawn(work);
    }
}

async fn run(shared: Arc<Shared>, client: ClientId, first: v1::MetadataCall) {
    let mut next = Some(first);
    while let Some(call) = next {
        let (call_id, token_request) = (call.call_id, RequestId::new(call.token_request));
        let method = call.method.as_ref().map_or("unknown", name_of);
        let work = Background::caught(run_one(shared.clone(), client, call));
        let result = match shared.metrics.counted(method, work).await {
            Ok(reply) => reply,
            Err(error) => Reply::Error(error_detail(&error).into()),
        };
        let reply = v1::MetadataReply { call_id, result: Some(result), grant: None };
        next = match shared.tokens.with(|state| state.answer(client, reply, token_request)) {
            Ok(next) => next,
            // The client repeats the call at the next start.
            Err(Stopped) => return,
        };
    }
}

async fn run_one(shared: Arc<Shared>, client: ClientId, call: v1::MetadataCall) -> Result<Reply, Status> {
    let by = Caller { shared, client };
    match call.method.ok_or_else(|| status(ErrorCode::InvalidArgument, "a call has no method"))? {
        Method::CreateFile(request) => by
            .call(request, |c: &strict::CreateFile| c.operation.client, files::create)
            .await
            .map(Into::into)
            .map(Reply::Opened),
        Method::OpenFile(request) => by
            .call(request, |c: &strict::OpenFile| c.operation.client, files::open)
            .await
            .map(Into::into)
            .map(Reply::Opened),
        Method::CloseFile(request) => {
            by.call(request, |c: &strict::CloseFile| c.operation.client, files::close).await.map(Reply::Closed)
        }
        Method::MovePointer(request) => by
            .call(request, |c: &strict::MovePointer| c.operation.client, files::move_pointer)
            .await
            .map(Into::into)
            .map(Reply::Moved),
        Method::FetchMetadata(request) => {
            by.call(request, |c: &strict::FetchMetadata| c.client, files::fetch).await.map(Reply::Fetched)
        }
        Method::UpdateMetadata(request) => {
            by.call(request, |c: &strict::UpdateMetadata| c.operation.client, files::update).await.map(Reply::Fetched)
        }
        Method::DeleteFile(request) => {
            by.call(request, |c: &strict::DeleteFile| c.operation.client, names::delete).await.map(Reply::Deleted)
        }
        Method::MakeDirectory(request) => {
            let made = by.call(request, |c: &strict::MakeDirectory| c.operation.client, names::make_directory).await;
            made.map(Reply::DirectoryMade)
        }
        Method::Rename(request) => {
            by.call(request, |c: &strict::Rename| c.operation.client, names::rename).await.map(Reply::Renamed)
        }
        Method::ListDirectory(request) => {
            by.call(request, |c: &strict::ListDirectory| c.client, names::list).await.map(Into::into).map(Reply::Listed)
        }
    }
}

/// A method's name in metrics, the same as that of the call that is no part of a stream.
fn name_of(method: &Method) -> &'static str {
    match method {
        Method::CreateFile(_) => "create_file",
        Method::OpenFile(_) => "open_file",
        Method::CloseFile(_) => "close_file",
        Method::MovePointer(_) => "move_pointer",
        Method::FetchMetadata(_) => "fetch_metadata",
        Method::UpdateMetadata(_) => "update_metadata",
        Method::DeleteFile(_) => "delete_file",
        Method::MakeDirectory(_) => "make_directory",
        Method::Rename(_) => "rename",
        Method::ListDirectory(_) => "list_directory",
    }
}

/// Whose stream a call came on.
struct Caller {
    shared: Arc<Shared>,
    client: ClientId,
}

impl Caller {
    /// Converts a request, which must be in the name of the stream's client, and does its work.
    async fn call<W, C, A, F>(
        self,
        request: W,
        client_of: impl FnOnce(&C) -> ClientId,
        work: impl FnOnce(Arc<Shared>, C) -> F,
    ) -> Result<A, Status>
    where
        C: TryFrom<W, Error = ConvertError>,
        F: Future<Output = Result<A, Status>>,
    {
        let converted = C::try_from(request)?;
        let named = client_of(&converted);
        if named != self.client {
            let text = format!("a call on the stream of {} is in the name of {named}", self.client);
            return Err(status(ErrorCode::InvalidArgument, text));
        }
        work(self.shared, converted).await
    }
}
