//! The token map of a file: who holds which bytes, now.

use super::answers::{failure, json, number, refusal};
use crate::namespace::NamespaceError;
use crate::server::Shared;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use pfs_core::extent::Extent;
use pfs_core::ids::{FileId, Holder};
use pfs_core::token::message::Mode;
use serde::Serialize;
use std::sync::Arc;
use tonic::Status;

/// Ranges in one answer; a file that has more is told to have more.
const RANGES_MAX: usize = 4096;

#[derive(Serialize)]
struct TokenMap {
    file_id: u64,
    /// Bytes; what holders have not told of yet is not in it.
    size_bytes: u64,
    stripe_unit_bytes: u64,
    stripe_count: u32,
    waiting: u64,
    requests: u64,
    revokes: u64,
    tokens: Vec<Token>,
    /// Ranges that are not in `tokens`.
    left_out: usize,
}

#[derive(Serialize)]
struct Token {
    start: u64,
    /// Nothing: infinity.
    end: Option<u64>,
    mode: &'static str,
    revoking: bool,
    holders: Vec<String>,
    holder_names: Vec<String>,
}

/// `/api/tokens`
pub(super) async fn tokens(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let file = match number(query.as_deref(), "file") {
        Ok(number) => number.and_then(FileId::new),
        Err(problem) => return refusal(problem),
    };
    let Some(file) = file else { return refusal("say which file, as file=ID".to_owned()) };
    match map_of(&shared, file).await {
        Ok(map) => json(&map),
        Err(status) => failure(&status),
    }
}

async fn map_of(shared: &Shared, file: FileId) -> Result<TokenMap, Status> {
    let stored = shared.namespace.stat_id(file).await?;
    let Some(recipe) = &stored.recipe else { return Err(NamespaceError::DirectoryId(file).into()) };
    let ((mut tokens, counters), known) =
        shared.tokens.with(move |state| (state.tokens_of(file), state.known(file)))?;
    let left_out = tokens.len().saturating_sub(RANGES_MAX);
    tokens.truncate(RANGES_MAX);
    let token = |(token, holder_names): (pfs_core::token::manager::TokenRange, Vec<String>)| Token {
        start: token.range.start(),
        end: Some(token.range.end()).filter(|end| *end != Extent::ALL.end()),
        mode: match token.mode {
            Mode::Shared => "shared",
            Mode::Exclusive => "exclusive",
        },
        revoking: token.revoking,
        holders: token.holders.iter().map(Holder::to_string).collect(),
        holder_names,
    };
    Ok(TokenMap {
        file_id: file.get(),
        size_bytes: known.size.map_or(stored.size.bytes, |size| size.bytes),
        stripe_unit_bytes: recipe.stripe_unit(),
        stripe_count: recipe.stripe_count(),
        waiting: counters.waiting,
        requests: counters.requests,
        revokes: counters.revokes,
        tokens: tokens.into_iter().map(token).collect(),
        left_out,
    })
}
