//! Serving: one listener, the services and their reflection behind the check of the secret, what is only looked at
//! behind the check of the view key, health in front of both.

use crate::connections::Connections;
use crate::running::RunningServer;
use anyhow::Context;
use pfs_proto::secret::{RequireSecret, Secret};
use pfs_proto::transport;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::Server;

/// What a server answers.
#[derive(Default)]
pub struct Services {
    /// Its calls, for those who know the secret.
    pub calls: Routes,
    /// Metrics and pages; see [`crate::web::guarded`].
    pub web: axum::Router,
}

impl From<Routes> for Services {
    fn from(calls: Routes) -> Self {
        Services { calls, web: axum::Router::new() }
    }
}

/// Listens on an address; port 0 takes a free one.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another address, or end who listens there"))
}

/// Serves calls to those who know the secret, pages to those who have the view key, and health to everybody, until
/// `shutdown` is cancelled. Who knows the secret may also ask by reflection what the services look like.
///
/// Pages come by the same port, over HTTP/1.1 or 2: there is no other port to find, to listen at or to keep shut.
///
/// Services that keep streams open must end them when `shutdown` is cancelled: a graceful stop waits for open calls
/// for [`crate::STOP_GRACE`] and cuts the rest.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn serve(
    listener: TcpListener,
    secret: &Secret,
    services: impl Into<Services>,
    shutdown: CancellationToken,
) -> anyhow::Result<RunningServer> {
    let Services { calls, web } = services.into();
    let address = listener.local_addr().context("cannot tell the address of the listener")?;
    let connections = Connections::default();
    // Everybody may ask for the health of the whole server: it is "serving" for as long as it answers.
    let (_, health) = tonic_health::server::health_reporter();
    let calls = guarded(with_reflection(calls)?, secret);
    let all = Routes::from(calls.into_axum_router().merge(crate::web::guarded(web, secret)));
    let router = server_builder().add_routes(all.add_service(health));
    let incoming = connections.clone().accept(listener).context("cannot duplicate the listener")?;
    let stop = shutdown.clone().cancelled_owned();
    let serving = tokio::spawn(async move { router.serve_with_incoming_shutdown(incoming, stop).await });
    tracing::info!(%address, "serving");
    Ok(RunningServer::new(address, serving, connections, shutdown))
}

/// The routes, and reflection on them in both versions that tools ask for.
fn with_reflection(routes: Routes) -> anyhow::Result<Routes> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pfs_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let damaged = "the descriptors of the services are damaged";
    let routes = routes.add_service(builder().build_v1().context(damaged)?);
    Ok(routes.add_service(builder().build_v1alpha().context(damaged)?))
}

fn server_builder() -> Server {
    Server::builder()
        .accept_http1(true)
        .initial_stream_window_size(transport::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(transport::CONNECTION_WINDOW_BYTES)
        .max_frame_size(transport::FRAME_BYTES_MAX)
        .max_concurrent_streams(transport::STREAMS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(transport::KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(transport::KEEP_ALIVE_TIMEOUT))
}

/// The routes, and the answer to every unknown path, behind the check of the secret.
fn guarded(routes: Routes, secret: &Secret) -> Routes {
    Routes::from(routes.into_axum_router().layer(InterceptorLayer::new(RequireSecret::new(secret))))
}
