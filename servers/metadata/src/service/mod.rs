//! The gRPC services: convert, call, answer. What a call does is elsewhere; what it takes and gives is here.

mod calls;
mod files;
mod known;
mod metadata;
mod names;
mod operators;
mod servers;
mod sessions;
mod token;

pub(crate) use operators::activity as activity_of;

use crate::server::Shared;
use pfs_proto::transport::MESSAGE_BYTES_MAX;
use pfs_proto::v1::metadata_server::MetadataServer;
use pfs_proto::v1::token_server::TokenServer;
use std::sync::Arc;
use tonic::service::Routes;

/// Both services.
pub(crate) fn routes(shared: Arc<Shared>) -> Routes {
    let metadata = MetadataServer::new(metadata::MetadataService::new(shared.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let token = TokenServer::new(token::TokenService::new(shared))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    Routes::new(metadata).add_service(token)
}
