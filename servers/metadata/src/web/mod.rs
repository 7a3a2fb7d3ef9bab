//! The page of the cluster, and what it is drawn from: JSON for whoever wants to draw something else.
//!
//! | Path | What |
//! |---|---|
//! | `/` | the page; all of it is in one answer |
//! | `/api/activity` | [`v1::ActivityReply`] as JSON; `files`, `sessions`: at most so many |
//! | `/api/tokens?file=ID` | the token map of a file |
//! | `/metrics` | metrics for Prometheus |
//! | `/targets` | where the metrics of all servers are, for Prometheus' `http_sd_configs` |
//!
//! Names of files, clients and servers are anybody's words: the page shows them as text and never as markup, and its
//! policy lets nothing run or load but its own script and style.

mod answers;
mod page;
mod tokens;

use crate::metrics::server_metrics;
use crate::server::Shared;
use axum::Router;
use axum::routing::get;
use pfs_proto::v1;
use std::sync::Arc;

/// Everything that is only looked at.
pub(crate) fn routes(shared: &Arc<Shared>) -> Router {
    let page = page::page();
    let pages: Router = Router::new()
        .route("/", get(move || std::future::ready(page.clone())))
        .route("/api/activity", get(answers::activity))
        .route("/api/tokens", get(tokens::tokens))
        .route("/targets", get(answers::targets))
        .with_state(shared.clone());
    pages.merge(pfs_server_runtime::metrics::route(server_metrics(shared)))
}

/// What the page asks for when it does not say.
fn usual() -> v1::ActivityRequest {
    v1::ActivityRequest { files_max: 20, sessions_max: 100, with_history: true }
}
