//! What happens in the cluster, and where its metrics are, as JSON.

use super::usual;
use crate::server::Shared;
use crate::service::activity_of;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use tonic::Status;

/// `value` as JSON.
pub(super) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the answer can not be encoded: {error}\n")).into_response()
        }
    }
}

/// An error of a call, for a reader of JSON.
pub(super) fn failure(status: &Status) -> Response {
    let code = match status.code() {
        tonic::Code::NotFound => StatusCode::NOT_FOUND,
        tonic::Code::InvalidArgument => StatusCode::BAD_REQUEST,
        tonic::Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let error = serde_json::json!({ "error": status.message() });
    (code, json(&error)).into_response()
}

/// A question that makes no sense.
pub(super) fn refusal(problem: String) -> Response {
    (StatusCode::BAD_REQUEST, problem + "\n").into_response()
}

/// The value of a query's parameter, which is a number; an error names the parameter.
pub(super) fn number(query: Option<&str>, name: &str) -> Result<Option<u64>, String> {
    let mut pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs.find(|(given, _)| *given == name) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| format!("{name} is not a number"))
}

/// `/api/activity`
pub(super) async fn activity(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let mut request = usual();
    for (name, wanted) in [("files", &mut request.files_max), ("sessions", &mut request.sessions_max)] {
        match number(query.as_deref(), name) {
            Ok(Some(count)) => *wanted = u32::try_from(count).unwrap_or(u32::MAX),
            Ok(None) => {}
            Err(problem) => return refusal(problem),
        }
    }
    match activity_of(&shared, request).await {
        Ok(reply) => json(&reply),
        Err(status) => failure(&status),
    }
}

#[derive(Serialize)]
struct Target {
    targets: [String; 1],
    labels: Labels,
}

#[derive(Serialize)]
struct Labels {
    cluster_id: String,
    pfs_server: String,
}

/// `/targets`
pub(super) async fn targets(State(shared): State<Arc<Shared>>) -> Response {
    let target = |name: String, address: String| {
        let labels = Labels { cluster_id: shared.cluster_id.clone(), pfs_server: name };
        Target { targets: [address], labels }
    };
    let servers = shared.servers.all().into_iter().map(|server| target(server.name, server.address));
    json(&servers.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_a_query() {
        assert_eq!(number(Some("key=1&file=17"), "file").unwrap(), Some(17));
        assert_eq!(number(Some("files=17"), "file").unwrap(), None);
        assert_eq!(number(None, "file").unwrap(), None);
        assert_eq!(number(Some("file=-1"), "file").unwrap_err(), "file is not a number");
    }
}
