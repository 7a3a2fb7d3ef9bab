//! Calls to the metadata server, at whichever of its addresses answers.

use pfs_proto::secret::{AuthInterceptor, Secret};
use pfs_proto::status::{ErrorCode, ErrorDetail, error_detail};
use pfs_proto::transport::{self, AddressError, AuthChannel};
use pfs_proto::v1::metadata_client::MetadataClient;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::{Response, Status};

/// A client of the metadata server. Its connections belong to the runtime in which it was made.
#[derive(Debug)]
pub struct MetadataLink {
    peers: Vec<Peer>,
    /// Which one answered last.
    current: AtomicUsize,
}

#[derive(Debug)]
struct Peer {
    address: String,
    client: MetadataClient<AuthChannel>,
}

impl MetadataLink {
    /// A link to the first of these addresses that answers.
    pub fn new(addresses: &[String], secret: &Secret) -> Result<Self, AddressError> {
        let auth = AuthInterceptor::new(secret);
        let peer = |address: &String| {
            let client = MetadataClient::new(transport::connect(address, &auth)?)
                .max_decoding_message_size(transport::MESSAGE_BYTES_MAX)
                .max_encoding_message_size(transport::MESSAGE_BYTES_MAX);
            Ok(Peer { address: address.clone(), client })
        };
        Ok(MetadataLink { peers: addresses.iter().map(peer).collect::<Result<_, _>>()?, current: AtomicUsize::new(0) })
    }

    /// Asks one address after the other, the one that answered last first, each for at most `time_max`. An answer that
    /// is an error is an answer; only silence leads to the next address.
    pub async fn ask<T, F>(
        &self,
        time_max: Duration,
        call: impl Fn(MetadataClient<AuthChannel>) -> F,
    ) -> Result<T, ErrorDetail>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let first = self.current.load(Ordering::Relaxed);
        let mut silence = Vec::new();
        for index in (0..self.peers.len()).map(|offset| (first + offset) % self.peers.len()) {
            let peer = &self.peers[index];
            let problem = match tokio::time::timeout(time_max, call(peer.client.clone())).await {
                Ok(Ok(answer)) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(answer.into_inner());
                }
                Ok(Err(status)) => error_detail(&status),
                Err(_) => ErrorDetail::new(ErrorCode::Unavailable, format!("no answer within {time_max:?}")),
            };
            if problem.code != ErrorCode::Unavailable {
                return Err(problem);
            }
            silence.push(format!("{}: {problem}", peer.address));
        }
        Err(ErrorDetail::new(
            ErrorCode::Unavailable,
            format!("the metadata server does not answer ({}); start it, or correct its address", silence.join("; ")),
        ))
    }
}
