//! What is only looked at: who may, how, and that calls go on beside it.

use axum::Router;
use axum::routing::get;
use pfs_proto::secret::{AuthInterceptor, Secret};
use pfs_proto::transport;
use pfs_server_runtime::web::ask_for_test;
use pfs_server_runtime::{CancellationToken, RunningServer, Services, bind, metrics, serve};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const SECRET: Secret = Secret::new([9; 32]);

async fn start() -> RunningServer {
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let web = Router::new().route("/seen", get(async || "seen")).merge(metrics::route(metrics::registry()));
    serve(listener, &SECRET, Services { web, ..Services::default() }, CancellationToken::new()).unwrap()
}

#[tokio::test]
async fn only_the_view_key_opens() {
    let server = start().await;
    let (key, other) = (SECRET.view_key(), Secret::new([8; 32]).view_key());
    let key = key.as_str();
    for query in [format!("?key={key}"), format!("?a=b&key={key}&c"), format!("?key=x&key={key}")] {
        let (status, head, body) = ask_for_test(server.address, &format!("GET /seen{query}"), "").await;
        assert_eq!((status, body.as_str()), (200, "seen"), "{query}");
        for header in ["cache-control: no-store", "referrer-policy: no-referrer", "connection: close"] {
            assert!(head.contains(header), "{header} is not in {head}");
        }
    }
    let bearer = format!("authorization: Bearer {key}\r\n");
    assert_eq!(ask_for_test(server.address, "GET /seen", &bearer).await.0, 200);

    for query in [
        "",
        "?key=",
        "?key",
        &format!("?kez={key}"),
        &format!("?key={}", &key[1..]),
        &format!("?key={}", other.as_str()),
    ] {
        let (status, head, body) = ask_for_test(server.address, &format!("GET /seen{query}"), "").await;
        assert_eq!(status, 401, "{query}");
        assert!(head.contains("www-authenticate: bearer") && !body.contains("seen") && !body.contains(key), "{body}");
    }
    // The proof is for calls and not for addresses.
    for bearer in [format!("Bearer {}", SECRET.proof()), format!("Basic {key}"), key.to_owned(), String::new()] {
        let header = format!("authorization: {bearer}\r\n");
        assert_eq!(ask_for_test(server.address, "GET /seen", &header).await.0, 401, "{bearer}");
    }
    let asked = format!("POST /seen?key={key}");
    assert_eq!(ask_for_test(server.address, &asked, "content-length: 0\r\n").await.0, 405);
    server.stop().await.unwrap();
}

/// One port for all: calls, health, metrics; and the view key is no proof.
#[tokio::test]
async fn calls_go_on_beside_it() {
    let server = start().await;
    let address = server.address.to_string();
    let channel = transport::connect(&address, &AuthInterceptor::new(&SECRET)).unwrap();
    let mut health = HealthClient::new(channel);
    let asked = HealthCheckRequest { service: String::new() };
    assert_eq!(health.check(asked).await.unwrap().into_inner().status, 1);

    let asked = format!("GET /metrics?key={}", SECRET.view_key().as_str());
    let (status, head, body) = ask_for_test(server.address, &asked, "").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    let value = |name: &str| -> f64 {
        let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {body}")).parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6 && value("process_open_fds") > 3.0);
    assert!(value("process_cpu_seconds_total") >= 0.0 && value("process_start_time_seconds") > 1.7e9);
    assert!(body.contains("# EOF"));

    let header = format!("authorization: Bearer {}\r\n", SECRET.view_key().as_str());
    let (_, head, _) = ask_for_test(
        server.address,
        "POST /pfs.v1.Metadata/Ping",
        &format!("{header}content-length: 0\r\nconnection: close\r\n"),
    )
    .await;
    assert!(head.contains("grpc-status: 16"), "a call needs the proof: {head}");
    server.stop().await.unwrap();
}
