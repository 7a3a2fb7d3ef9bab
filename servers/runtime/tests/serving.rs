//! A served service as its callers see it: who gets an answer, and what the ways to end a server do to open calls.

use pfs_proto::secret::{AuthInterceptor, Secret};
use pfs_proto::status::{ErrorCode, error_detail};
use pfs_proto::v1::token_client::TokenClient;
use pfs_proto::v1::token_server::{Token, TokenServer};
use pfs_proto::{transport, v1};
use pfs_server_runtime::{CancellationToken, RunningServer, STOP_GRACE, bind, serve};
use std::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const SECRET: Secret = Secret::new([9; 32]);

/// Welcomes every stream and keeps it open; ends it at shutdown if it is told to be polite.
struct Welcomer {
    shutdown: CancellationToken,
    polite: bool,
}

#[tonic::async_trait]
impl Token for Welcomer {
    type StreamTokenStream = ReceiverStream<Result<v1::ServerMessage, Status>>;

    async fn stream_token(
        &self,
        _: Request<Streaming<v1::ClientMessage>>,
    ) -> Result<Response<Self::StreamTokenStream>, Status> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let (shutdown, polite) = (self.shutdown.clone(), self.polite);
        tokio::spawn(async move {
            let welcome = v1::server_message::Kind::Welcome(v1::Welcome { boot: 1, received: 0 });
            let sent = sender.send(Ok(v1::ServerMessage { number: 0, kind: Some(welcome) })).await;
            tokio::select! {
                () = shutdown.cancelled(), if polite && sent.is_ok() => {}
                () = sender.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn start(polite: bool) -> RunningServer {
    let shutdown = CancellationToken::new();
    let routes = Routes::new(TokenServer::new(Welcomer { shutdown: shutdown.clone(), polite }));
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    serve(listener, &SECRET, routes, shutdown).unwrap()
}

async fn open_stream(server: &RunningServer, secret: &Secret) -> Result<Streaming<v1::ServerMessage>, Status> {
    let address = server.address.to_string();
    let channel = transport::connect(&address, &AuthInterceptor::new(secret)).unwrap();
    let answer = TokenClient::new(channel).stream_token(tokio_stream::pending()).await?;
    let mut stream = answer.into_inner();
    assert!(stream.message().await?.is_some());
    Ok(stream)
}

#[tokio::test]
async fn only_callers_with_the_secret_are_answered() {
    let server = start(true).await;
    assert!(open_stream(&server, &SECRET).await.is_ok());
    let refused = open_stream(&server, &Secret::new([8; 32])).await.unwrap_err();
    assert_eq!(error_detail(&refused).code, ErrorCode::Unauthenticated);

    let plain = transport::endpoint(&server.address.to_string()).unwrap().connect().await.unwrap();
    let refused = TokenClient::new(plain.clone()).stream_token(tokio_stream::pending()).await.unwrap_err();
    assert_eq!(error_detail(&refused).code, ErrorCode::Unauthenticated);
    // Not even which services there are is told to strangers.
    let unknown = v1::data_client::DataClient::new(plain.clone()).ping(v1::DataPingRequest {}).await.unwrap_err();
    assert_eq!(error_detail(&unknown).code, ErrorCode::Unauthenticated);
    // Health is for everybody.
    let health = HealthClient::new(plain).check(HealthCheckRequest { service: String::new() }).await.unwrap();
    assert_eq!(health.into_inner().status, 1);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_unknown_method_is_another_version_to_those_who_know_the_secret() {
    let server = start(true).await;
    let channel = transport::connect(&server.address.to_string(), &AuthInterceptor::new(&SECRET)).unwrap();
    let unknown = v1::data_client::DataClient::new(channel).ping(v1::DataPingRequest {}).await.unwrap_err();
    assert_eq!(error_detail(&unknown).code, ErrorCode::WrongCluster);
}

#[tokio::test]
async fn a_graceful_stop_ends_streams_without_an_error_and_frees_the_address() {
    let server = start(true).await;
    let address = server.address;
    let mut stream = open_stream(&server, &SECRET).await.unwrap();
    let begun = Instant::now();
    server.stop().await.unwrap();
    assert!(begun.elapsed() < STOP_GRACE, "a polite service needs no grace");
    assert!(stream.message().await.unwrap().is_none(), "the stream ended, it did not break");
    drop(bind(address).await.unwrap());
}

#[tokio::test]
async fn a_stop_cuts_streams_that_do_not_end() {
    let server = start(false).await;
    let mut stream = open_stream(&server, &SECRET).await.unwrap();
    let (stopped, ended) = tokio::join!(server.stop(), stream.message());
    stopped.unwrap();
    assert_eq!(error_detail(&ended.unwrap_err()).code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn an_abort_breaks_streams_at_once() {
    let server = start(false).await;
    let address = server.address;
    let mut stream = open_stream(&server, &SECRET).await.unwrap();
    let begun = Instant::now();
    server.abort();
    assert_eq!(error_detail(&stream.message().await.unwrap_err()).code, ErrorCode::Unavailable);
    assert!(begun.elapsed() < STOP_GRACE);
    let channel = transport::connect(&address.to_string(), &AuthInterceptor::new(&SECRET)).unwrap();
    let gone = TokenClient::new(channel).stream_token(tokio_stream::pending()).await.unwrap_err();
    assert_eq!(error_detail(&gone).code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn a_failed_task_ends_the_server() {
    let mut server = start(true).await;
    server.attach("heartbeat", async { anyhow::bail!("the disk is gone") });
    let error = format!("{:#}", server.wait().await.unwrap_err());
    assert_eq!(error, "the heartbeat task failed: the disk is gone");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn attached_tasks_end_with_the_server() {
    let mut server = start(true).await;
    let shutdown = server.shutdown_token();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    server.attach("writer", async move {
        shutdown.cancelled().await;
        tokio::task::yield_now().await;
        sender.send(()).map_err(|()| anyhow::anyhow!("nobody waits"))
    });
    server.stop().await.unwrap();
    receiver.await.expect("the stop waited for the task");
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let server = start(true).await;
    let error = bind(server.address).await.unwrap_err().to_string();
    assert!(error.contains(&format!("cannot listen on {}", server.address)), "{error}");
}
