//! What is only to be looked at: metrics and pages, over HTTP, for those who have the view key.
//!
//! Invariants:
//! * nothing is answered without the key, which is compared in constant time; the answer to a wrong one does not tell what
//!   was wrong with it;
//! * only GET and HEAD are answered, and nothing that is answered here changes anything;
//! * answers are kept by no cache, name no referrer and are shown in no frame; each ends its HTTP/1.1 connection, so that
//!   nobody's idle connections have to be waited for.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use pfs_proto::secret::{Secret, ViewKey};

/// The name of the key in a query.
pub const KEY_PARAMETER: &str = "key";

const NO_KEY: &str = "This needs the cluster's view key, as ?key=… or as a bearer token. `pfs status` shows it to those who have the secret.\n";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// Routes that ask for the view key of this secret.
pub fn guarded(routes: Router, secret: &Secret) -> Router {
    if !routes.has_routes() {
        // There is nothing to look at, and a layer around nothing is refused.
        return routes;
    }
    routes.route_layer(from_fn_with_state(secret.view_key(), check))
}

async fn check(State(key): State<ViewKey>, request: Request, next: Next) -> Response {
    let version = request.version();
    let mut response = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        StatusCode::METHOD_NOT_ALLOWED.into_response()
    } else if is_given(&key, request.uri(), request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], NO_KEY).into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if version <= Version::HTTP_11 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether the key is in the query or in the headers.
fn is_given(key: &ViewKey, uri: &Uri, headers: &HeaderMap) -> bool {
    let parameters = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let in_query = parameters.filter(|(name, _)| *name == KEY_PARAMETER).any(|(_, value)| key.is(value.as_bytes()));
    let bearer = headers.get(header::AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
    let in_header = bearer.strip_prefix(b"Bearer ").is_some_and(|value| key.is(value));
    in_query || in_header
}

/// Asks over HTTP/1.1, for tests of what is served: the status, the head and the body of the answer.
///
/// # Panics
/// When nobody answers.
#[doc(hidden)]
pub async fn ask_for_test(address: std::net::SocketAddr, request_line: &str, headers: &str) -> (u16, String, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("somebody listens");
    let request = format!("{request_line} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is taken");
    let mut answer = String::new();
    // It ends, because every answer ends its connection.
    stream.read_to_string(&mut answer).await.expect("an answer of text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_ascii_lowercase(), body.to_owned())
}

/// The metrics of an answer, each once, under the names that `docs/METRICS.md` has for them; and those of the document's
/// sections with these headings.
///
/// # Panics
/// When the text is not what this crate writes.
#[doc(hidden)]
pub fn names_for_test(metrics: &str, document: &str, sections: &[&str]) -> (Vec<String>, Vec<String>) {
    let told = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(|line| {
        let (name, kind) = line.split_once(' ').expect("a name and a kind");
        if kind == "counter" { format!("{name}_total") } else { name.to_owned() }
    });
    let mut told: Vec<String> = told.collect();
    let mut documented: Vec<String> = Vec::new();
    for section in document.split("\n### ").filter(|text| sections.iter().any(|name| text.starts_with(name))) {
        documented
            .extend(section.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())));
    }
    told.sort();
    documented.sort();
    (told, documented)
}
